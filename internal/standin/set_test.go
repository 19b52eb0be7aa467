//go:build unix

package standin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// A new stand-in does not wait for one that drains for an hour if there is room without that.
func TestRoomWhenAnyStandInEnds(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		begin(t, s)
		_, second := begin(t, s)
		time.AfterFunc(time.Second, func() { second.exit("exited", false) })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := s.AwaitRoom(ctx, 2); err != nil {
			t.Errorf("no room after a minute: %v", err)
		}
	})
}

// A program may call Ready when another version is about to replace it. The stand-in of that
// version goes on serving.
func TestReadyDuringRestart(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		beside := &s.image.Beside
		x, p := serves(t, s)
		beside.SetServes(true)
		beside.SetGive(x.Give)
		s.Takeover()
		synctest.Wait()
		if len(p.queue) > 0 {
			t.Errorf("the stand-in has got a message of kind %d", p.next(t).kind)
		}
		if !beside.Serves() || !beside.Takes() {
			t.Error("the main process does not know that a stand-in serves")
		}
		if s.servingBeside(nil) != x {
			t.Error("no stand-in serves")
		}
	})
}

// What an image hands over stays open until the exec, also that of a stand-in that ends meanwhile:
// the number of a descriptor may be that of another file soon.
func TestHandedOverStaysOpen(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := serves(t, s)
		h := new(handover.State)
		resume := s.Pause()
		s.HandOver(h)
		p.exit("exited", false)
		synctest.Wait()
		if own := x.link.transport.(*end); own.closed || p.released {
			t.Errorf("handed over: %v; closed: the channel: %v, the pidfd: %v", h.Numbers[handover.StandIns], own.closed, p.released)
		}
		resume()
		synctest.Wait()
		if !p.released || s.servingBeside(nil) != nil {
			t.Error("the stand-in has ended, and is there")
		}
	})
}

// What a stand-in says right before the exec is for the next image: this one would not come to do
// anything with it. If the exec fails, it is for this one.
func TestNothingIsReceivedBeforeExec(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := serves(t, s)
		resume := s.Pause()
		p.say(t, message{kind: pong})
		synctest.Wait()
		if own := x.link.transport.(*end); len(own.queue) != 1 || len(x.pong) > 0 {
			t.Error("the message was received")
		}
		resume()
		synctest.Wait()
		if len(x.pong) != 1 {
			t.Error("the message was not received when the exec had failed")
		}
	})
}

// The program is told when the first stand-in comes, and when the last one has gone.
func TestPresence(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		told := ""
		note := func(present bool) { told += map[bool]string{true: "some ", false: "none "}[present] }
		want := func(text string) {
			t.Helper()
			synctest.Wait()
			if told != text {
				t.Errorf("told %q, want %q", told, text)
			}
		}
		s.OnPresence(note)
		want("")
		_, p := begin(t, s)
		_, q := begin(t, s)
		want("some ")
		p.exit("exited", false)
		want("some ")
		q.exit("exited", false)
		want("some none ")
		_, p = begin(t, s)
		want("some none some ")
		next := executed(t, s, p)
		next.OnPresence(note)
		want("some none some some ")
		p.exit("exited", false)
		want("some none some some none ")
	})
}

// The image knows from before the start of the first stand-in until after the end of the last one
// that there are copies of its sockets.
func TestImageKnowsOfStandIns(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		want := func(s *Set, present bool) {
			t.Helper()
			synctest.Wait()
			if s.image.Beside.Present() != present {
				t.Errorf("present: %v", !present)
			}
		}
		want(s, false)
		fails := s.AboutToStart()
		want(s, true)
		fails()
		want(s, false)
		done := s.AboutToStart()
		_, p := begin(t, s)
		done()
		done = s.AboutToStart()
		_, q := begin(t, s)
		p.exit("exited", false)
		done()
		want(s, true)
		next := executed(t, s, q)
		want(next, true)
		q.exit("exited", false)
		want(next, false)
	})
}
