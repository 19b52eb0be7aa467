//go:build unix

package standin

import (
	"context"
	"math"
	"strings"
	"syscall"
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

// A stand-in may drain for as long as its main process says, also if that is for ever.
func TestLongestDrain(t *testing.T) {
	for _, drain := range []time.Duration{time.Hour, math.MaxInt64 - 1, math.MaxInt64} {
		bubble(t, func(t *testing.T, s *Set) {
			x, p := begin(t, s)
			if err := x.Serve(t.Context(), drain); err != nil {
				t.Fatal(err)
			}
			wantMS := uint64(drain / time.Millisecond)
			if m := p.want(t, serve); m.n != wantMS {
				t.Errorf("%v: serves with %d ms, want %d", drain, m.n, wantMS)
			}
			x.Retire()
			if m := p.want(t, retire); m.n != wantMS {
				t.Errorf("%v: retires within %d ms, want %d", drain, m.n, wantMS)
			}
			time.Sleep(50 * time.Minute)
			synctest.Wait()
			if !p.lives() {
				t.Errorf("%v: killed", drain)
			}
		})
	}
}

// A stand-in that does not end in its time is killed, and so is one that reads nothing.
func TestStandInThatDoesNotEnd(t *testing.T) {
	for _, full := range []bool{false, true} {
		for _, drain := range []time.Duration{drainTime, 0, -time.Second} {
			bubble(t, func(t *testing.T, s *Set) {
				x, p := begin(t, s)
				if err := x.Serve(t.Context(), drain); err != nil {
					t.Fatal(err)
				}
				p.want(t, serve)
				own := x.link.transport.(*end)
				own.set(func() { own.full = full })
				x.Retire()
				time.Sleep(max(0, drain) + graceTime - 1)
				synctest.Wait()
				if !p.lives() {
					t.Error("killed too early")
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if p.lives() || len(s.all) > 0 {
					t.Error("it lives on")
				}
			})
		}
	}
}

// A stand-in that ends between its Ready and its first connection is like one that ends at any other
// time: if it was killed, it may work the next time.
func TestEndsBeforeItServes(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := begin(t, s)
		p.say(t, message{kind: ready})
		if err := x.AwaitReady(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		p.end.close() // the first thing that the main process notices
		time.AfterFunc(time.Millisecond, func() { p.exit("killed by the kernel", true) })
		err := x.Serve(t.Context(), drainTime)
		if f, ok := err.(*Failure); !ok || f.Text != "killed by the kernel" || !f.Killed {
			t.Errorf("the reason is %v", err)
		}
	})
}

// A stand-in that has closed its channel does not work, and does not get better.
func TestClosesItsChannel(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := serves(t, s)
		p.end.close()
		if err := x.Ping(); err == nil {
			t.Error("it answers")
		}
	})
}

// Signals arrive in the order in which they have come. A stand-in that was stopped gets those that
// came first, and holds nobody up.
func TestForwardInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := serves(t, s)
		own := x.link.transport.(*end)
		own.set(func() { own.full = true })
		const n = 40
		for i := range n {
			s.Forward(syscall.Signal(i))
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		own.set(func() { own.full = false })
		synctest.Wait()
		if got := len(p.queue); got != 1+maxSignals {
			t.Errorf("%d arrive, want %d", got, 1+maxSignals)
		}
		for i := range len(p.queue) {
			if m := p.want(t, signaled); m.n != uint64(i) {
				t.Fatalf("signal %d arrives as number %d", m.n, i)
			}
		}
	})
}

// A stand-in that serves is pinged. One that stands still for long is killed: clients wait in its
// queue, and those that it was given.
func TestStandsStillWhileItServes(t *testing.T) {
	for _, after := range []time.Duration{0, 10 * watchInterval} {
		bubble(t, func(t *testing.T, s *Set) {
			x, p := serves(t, s)
			go x.Watch(t.Context())
			start := time.Now()
			for time.Since(start) < after {
				p.want(t, ping)
				p.say(t, message{kind: pong})
			}
			p.want(t, ping)
			still := time.Now()
			<-p.ended
			if took := time.Since(still); took != watchTimeout {
				t.Errorf("it was killed after %v", took)
			}
			synctest.Wait()
			if f, ok := x.Err().(*Failure); !ok || f.Text != "it does not answer" || !f.Killed {
				t.Errorf("the reason is %v", x.Err())
			}
		})
	}
}

// A stand-in that serves no more is not watched: it has its time to drain.
func TestWatchEnds(t *testing.T) {
	for name, end := range map[string]func(x *StandIn, p *peer, cancel func()){
		"retires":    func(x *StandIn, p *peer, _ func()) { x.Retire() },
		"called off": func(_ *StandIn, _ *peer, cancel func()) { cancel() },
		"ends":       func(_ *StandIn, p *peer, _ func()) { p.exit("it has exited with status 0", false) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *Set) {
				x, p := serves(t, s)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					x.Watch(ctx)
				}()
				p.want(t, ping)
				p.say(t, message{kind: pong})
				end(x, p, cancel)
				start := time.Now()
				<-ended
				if took := time.Since(start); took > watchInterval {
					t.Errorf("it was watched for %v", took)
				}
				if (name != "ends") != p.lives() {
					t.Errorf("it lives: %v", p.lives())
				}
			})
		})
	}
}
