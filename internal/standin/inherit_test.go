//go:build unix

package standin

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
)

// executed returns the set of the next image, with the same peers.
func executed(t *testing.T, s *Set, peers ...*peer) *Set {
	t.Helper()
	return inheritPeers(handedOver(t, s), peers...)
}

// handedOver returns what crosses the exec.
func handedOver(t *testing.T, s *Set) *handover.State {
	t.Cleanup(s.Pause())
	h := new(handover.State)
	s.HandOver(h)
	return h
}

// inheritPeers returns the set of an image that gets h.
func inheritPeers(h *handover.State, peers ...*peer) *Set {
	return inherit(image.Start(h, nil), func(pid, pidfd, fd int) (process, transport, error) {
		for _, p := range peers {
			if p.number == pid && p.inherited() == pidfd && p.other.number == fd {
				return p, p.other.cross(), nil
			}
		}
		return nil, nil, errNoAnswer
	})
}

// A stand-in that has to leave is told so by the next image, too: the previous one may not have
// come to that.
func TestRetiresInNextImage(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := serves(t, s)
		x.Retire()
		p.want(t, retire)
		start := time.Now()
		time.Sleep(time.Second)
		next := executed(t, s, p)
		synctest.Wait()
		if len(p.queue) == 0 {
			t.Fatal("it is told nothing")
		}
		if m := p.want(t, retire); m.n != uint64((drainTime - time.Second).Milliseconds()) {
			t.Errorf("it is told to retire within %d ms", m.n)
		}
		<-p.ended
		if took := time.Since(start); took != drainTime+graceTime {
			t.Errorf("it is killed after %v", took)
		}
		synctest.Wait()
		if len(next.all) > 0 {
			t.Error("it is in the set after its end")
		}
	})
}

// A stand-in may have ended during the exec.
func TestEndsDuringExec(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		_, p := serves(t, s)
		h := handedOver(t, s)
		p.exit("killed", true)
		next := inheritPeers(h, p)
		if err := next.AwaitRoom(t.Context(), 1); err != nil {
			t.Error(err)
		}
	})
}
