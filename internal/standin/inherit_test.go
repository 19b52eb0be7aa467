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

// Stand-ins cross an exec with what they do. When the new image is ready, all of them leave.
func TestStandInsCross(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		retired, p := serves(t, s)
		retired.Retire()
		p.want(t, retire)
		_, q := serves(t, s)
		q.number = 4711
		h := handedOver(t, s)
		want := of(map[handover.NumberKind][]int{
			handover.StandInPID: {100, 4711}, handover.Beside: {1}, handover.StandIns: {101, 1001, 4712, 1001},
		}, "2/30000/33000;1/30000/0")
		if got := h.String(); got != want.String() {
			t.Errorf("this crosses:\n%s\nwant\n%s", got, want.String())
		}
		next := inheritPeers(h, p, q)
		next.image.Beside.SetServes(true)
		next.image.Drainers.Hold()
		part := new(part)
		next.image.Drainers.Register(part)
		if x := next.servingBeside(nil); x == nil || x.process != process(q) {
			t.Error("no stand-in serves")
		}
		p.want(t, retire)
		next.Takeover()
		q.want(t, retire)
		if next.image.Beside.Serves() || next.servingBeside(nil) != nil || part.calls() != "quiesce resume " {
			t.Errorf("a stand-in serves beside this image, or it does not accept: %s", part.calls())
		}
		p.exit("it has exited with status 0", false)
		q.exit("it has exited with status 0", false)
		if err := next.AwaitRoom(t.Context(), 1); err != nil {
			t.Error(err)
		}
		h = handedOver(t, next)
		if h.String() != "" {
			t.Errorf("this crosses after their end: %s", h)
		}
	})
}

func of(numbers map[handover.NumberKind][]int, standIns string) *handover.State {
	h := new(handover.State)
	for kind, n := range numbers {
		h.Numbers[kind] = n
	}
	h.Texts[handover.StandIn] = standIns
	return h
}

// An image takes over what it understands of stand-ins, and ends the others.
func TestInheritOtherForms(t *testing.T) {
	for name, test := range map[string]struct {
		h        *handover.State
		inherits int
		serves   bool
	}{
		"nothing": {of(nil, ""), 0, false},
		"one that serves": {of(map[handover.NumberKind][]int{handover.StandInPID: {100}, handover.StandIns: {101, 1001}},
			"1/30000/0"), 1, true},
		"no records": {of(map[handover.NumberKind][]int{handover.StandInPID: {100, 110}, handover.StandIns: {101, 1001, 111, 1001}},
			""), 2, false},
		"a record is missing": {of(map[handover.NumberKind][]int{handover.StandInPID: {110, 100}, handover.StandIns: {111, 1001, 101, 1001}},
			"1/30000/0"), 2, true},
		"a descriptor is missing": {of(map[handover.NumberKind][]int{handover.StandInPID: {100, 110}, handover.StandIns: {101, 1001, 111}},
			"1/30000/0;1/30000/0"), 1, true},
		"a PID is missing": {of(map[handover.NumberKind][]int{handover.StandInPID: {100}, handover.StandIns: {101, 1001, 111, 1001}},
			"1/30000/0;1/30000/0"), 1, true},
		"unknown descriptors": {of(map[handover.NumberKind][]int{handover.StandInPID: {99, 100}, handover.StandIns: {3, 4, 101, 1001}},
			"1/30000/0;1/30000/0"), 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *Set) {
				_, p := begin(t, s)
				_, q := begin(t, s)
				next := inheritPeers(test.h, p, q)
				if len(next.all) != test.inherits || (next.servingBeside(nil) != nil) != test.serves {
					t.Errorf("it has %d, serves: %v", len(next.all), next.servingBeside(nil) != nil)
				}
				time.Sleep(graceTime)
				synctest.Wait()
				if left := len(next.all); left > 1 || (left == 1) != test.serves {
					t.Errorf("%d are left after the grace time", left)
				}
			})
		})
	}
}
