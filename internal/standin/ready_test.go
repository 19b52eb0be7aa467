//go:build unix

package standin

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// AwaitReady ends in each of these ways. Unless the stand-in is ready, it is killed.
func TestAwaitReady(t *testing.T) {
	const timeout = time.Minute
	cause := errors.New("called off")
	for _, test := range []struct {
		name  string
		after time.Duration
		do    func(t *testing.T, p *peer, out *outputInMemory, cancel func())
		want  string // "" if it is ready
	}{
		{"ready", time.Second, func(t *testing.T, p *peer, _ *outputInMemory, _ func()) { p.say(t, message{kind: ready}) }, ""},
		{"ready twice", 0, func(t *testing.T, p *peer, _ *outputInMemory, _ func()) {
			p.say(t, message{kind: ready})
			p.say(t, message{kind: ready})
		}, ""},
		{"just in time", timeout - 1, func(t *testing.T, p *peer, _ *outputInMemory, _ func()) { p.say(t, message{kind: ready}) }, ""},
		{"never", timeout, func(*testing.T, *peer, *outputInMemory, func()) {}, "it was not ready within 1m0s" + lastWords},
		{"rejected", time.Second, func(t *testing.T, p *peer, _ *outputInMemory, _ func()) {
			p.say(t, message{kind: rejected, text: "no good"})
			p.say(t, message{kind: rejected, text: "no good at all"})
		}, "no good" + lastWords},
		{"rejected and gone", time.Second, func(t *testing.T, p *peer, _ *outputInMemory, _ func()) {
			p.say(t, message{kind: rejected, text: "no good"})
			p.exit("it has exited with status 1", false)
		}, "no good" + lastWords},
		{"gone", time.Second, func(_ *testing.T, p *peer, _ *outputInMemory, _ func()) { p.exit("it has exited with status 1", false) },
			"it has exited with status 1" + lastWords},
		{"silent and gone", time.Second, func(_ *testing.T, p *peer, out *outputInMemory, _ func()) {
			out.text = ""
			p.exit("it has exited with status 1", false)
		}, "it has exited with status 1"},
		{"too much output", checkInterval, func(_ *testing.T, _ *peer, out *outputInMemory, _ func()) { out.much.Store(true) },
			"it has written more than 64 MiB before it was ready" + lastWords},
		{"called off", time.Second, func(_ *testing.T, _ *peer, _ *outputInMemory, cancel func()) { cancel() }, cause.Error()},
		{"closes its channel and goes", time.Second, func(_ *testing.T, p *peer, _ *outputInMemory, _ func()) {
			p.end.close()
			p.exit("it has exited with status 1", false)
		}, "it has exited with status 1" + lastWords},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *Set) {
				x, p := begin(t, s)
				out := x.written.(*outputInMemory)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				start := time.Now()
				time.AfterFunc(min(test.after, timeout-1), func() { test.do(t, p, out, func() { cancel(cause) }) })
				err := x.AwaitReady(ctx, timeout)
				if took := time.Since(start); took < test.after || took > test.after+checkInterval {
					t.Errorf("returned after %v, want %v", took, test.after)
				}
				synctest.Wait()
				ready := test.want == ""
				if p.lives() != ready || out.closed == ready || (len(s.all) == 1) != ready {
					t.Errorf("lives: %v, output closed: %v, in the set: %v", p.lives(), out.closed, len(s.all))
				}
				switch {
				case ready && err == nil:
				case ready || err == nil || err.Error() != test.want:
					t.Errorf("the reason is %v, want %q", err, test.want)
				}
			})
		})
	}
}

const lastWords = `; it has written "last words"`

// The main process does not wait for a stand-in that can't say any more that it is ready.
func TestClosesItsChannelEarly(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := begin(t, s)
		p.end.close()
		start := time.Now()
		err := x.AwaitReady(t.Context(), time.Hour)
		if err == nil || err.Error() != "it has closed the descriptor of the channel to its main process"+lastWords {
			t.Errorf("the reason is %v", err)
		}
		if took := time.Since(start); took != graceTime {
			t.Errorf("returned after %v", took)
		}
	})
}

// A stand-in that was killed may work the next time. No other failure passes.
func TestFailureIsKilled(t *testing.T) {
	for _, killed := range []bool{false, true} {
		bubble(t, func(t *testing.T, s *Set) {
			x, p := begin(t, s)
			p.exit("ended", killed)
			err := x.AwaitReady(t.Context(), time.Minute)
			if f, ok := err.(*Failure); !ok || f.Killed != killed {
				t.Errorf("killed: %v, the failure is %+v", killed, err)
			}
		})
	}
}

// A process in uninterruptible sleep does not end when it is killed. Nothing waits for it for long.
func TestKillOfSleeper(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		x, p := begin(t, s)
		p.sleeps = true
		start := time.Now()
		x.Kill()
		if took := time.Since(start); took != graceTime {
			t.Errorf("Kill has returned after %v", took)
		}
		p.sleeps = false
	})
}
