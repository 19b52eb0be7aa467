//go:build unix

package standin

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// The last messages may be read a moment after the end of the stand-in was noticed.
func TestLastMessages(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := serves(t, s)
		own := x.link.transport.(*end)
		own.set(func() { own.held = true })
		states := passing.NewStore(s.image.Inherited)
		states.SetState("count", []byte("7"))
		fd := states.OwnStates()
		defer sys.NewFD(fd).Close()
		if err := p.send((&message{kind: farewell}).encode(), fd); err != nil {
			t.Fatal(err)
		}
		p.exit("it has exited with status 0", false)
		synctest.Wait()
		own.set(func() { own.held = false })
		synctest.Wait()
		if value, _ := s.image.Store.State("count"); string(value) != "7" {
			t.Errorf("the state of the stand-in is %q", value)
		}
	})
}

func TestLastReason(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := begin(t, s)
		own := x.link.transport.(*end)
		own.set(func() { own.held = true })
		p.say(t, message{kind: rejected, text: "no good"})
		p.exit("it has exited with status 1", false)
		synctest.Wait()
		own.set(func() { own.held = false })
		if err := x.AwaitReady(t.Context(), time.Minute); err == nil || !strings.HasPrefix(err.Error(), "no good; ") {
			t.Errorf("the reason is %v", err)
		}
	})
}
