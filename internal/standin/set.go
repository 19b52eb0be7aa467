package standin

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
)

// A Set has the stand-ins of the main process: one at most that starts, one that serves, and
// those that retire. They cross each exec.
type Set struct {
	image *image.Image

	pausing sync.Mutex // above mu; held from Pause to resume

	mu      sync.Mutex
	all     []*StandIn
	changed chan struct{} // closed, and replaced, when one of them is removed
	paused  chan struct{} // closed by resume; nil without a pause
	present func(bool)    // nil before OnPresence
	starts  int           // calls of AboutToStart that are not done

	telling sync.Mutex // above mu; held while the image is told whether there is a stand-in
}

// Inherit returns the stand-ins that the previous image has handed over.
func Inherit(i *image.Image) *Set { return inherit(i, openInherited) }

// inherit is Inherit with a function that takes over the descriptors of a stand-in.
func inherit(i *image.Image, open func(pid, pidfd, fd int) (process, transport, error)) *Set {
	s := &Set{image: i, changed: make(chan struct{})}
	h := i.Inherited
	pids, fds := h.Numbers[handover.StandInPID], h.Numbers[handover.StandIns]
	records := strings.Split(h.Texts[handover.StandIn], ";")
	for n, pid := range pids {
		if 2*n+1 >= len(fds) {
			break
		}
		record := ""
		if n < len(records) {
			record = records[n]
		}
		p, t, err := open(pid, fds[2*n], fds[2*n+1])
		if err != nil {
			continue
		}
		x := newStandIn(s)
		x.crossed = true
		x.readRecord(record)
		close(x.readied)
		x.connect(p, t)
		s.add(x)
		if x.role == retiring { // the previous image may not have come to tell it that
			go x.leave(time.Until(x.deadline)-graceTime, x.deadline)
		}
	}
	s.tell()
	return s
}

// AboutToStart is called before Start, with nothing locked, and done after it: a stand-in has copies
// of what is open then.
func (s *Set) AboutToStart() (done func()) {
	begun := func(n int) {
		s.mu.Lock()
		s.starts += n
		s.mu.Unlock()
		s.tell()
	}
	begun(1)
	return func() { begun(-1) }
}

// tell tells the image whether there is a stand-in, or is about to be one.
func (s *Set) tell() {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	present := s.starts+len(s.all) > 0
	s.mu.Unlock()
	s.image.Beside.SetPresent(present)
}

// Pause is called before HandOver, with nothing locked. Until resume is called, because the exec has
// failed, nothing is received and nothing is closed: what a stand-in sends is for the next image.
// Pause returns when no message is being handled, within a short time.
func (s *Set) Pause() (resume func()) {
	s.pausing.Lock()
	paused := make(chan struct{})
	s.mu.Lock()
	s.paused = paused
	all := slices.Clone(s.all)
	serving := slices.IndexFunc(all, func(x *StandIn) bool { return x.role == serving })
	s.mu.Unlock()
	if serving >= 0 { // the last one: another one may wait until it has taken a connection
		last := all[serving]
		all = append(slices.Delete(all, serving, serving+1), last)
	}
	var resumes []func()
	for _, x := range all {
		resumes = append(resumes, x.link.pause(pauseTimeout))
	}
	return func() {
		for _, resume := range resumes {
			resume()
		}
		s.mu.Lock()
		s.paused = nil
		s.mu.Unlock()
		close(paused)
		s.pausing.Unlock()
	}
}

// HandOver adds the stand-ins to h, for the next image or for the previous one. None must be
// starting.
func (s *Set) HandOver(h *handover.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pids, fds []int
	var records []string
	h.Numbers[handover.Beside] = nil
	for _, x := range s.all {
		pids = append(pids, x.process.pid())
		fds = append(fds, x.process.inherited(), x.link.transport.inherited())
		records = append(records, x.record())
		if x.role == serving {
			h.Set(handover.Beside, 1)
		}
	}
	h.Numbers[handover.StandInPID], h.Numbers[handover.StandIns] = pids, fds
	h.Texts[handover.StandIn] = strings.Join(records, ";")
}

// servingBeside returns the stand-in that serves while x retires; nil if there is none, or if x is
// starting.
func (s *Set) servingBeside(x *StandIn) *StandIn {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(other *StandIn) bool { return other != x && other.role == serving })
	if i < 0 || x != nil && x.role == starting {
		return nil
	}
	return s.all[i]
}

// Takeover retires the stand-in that has served while this image was executed: this image is
// ready, and accepts. One that serves for a next image stays.
func (s *Set) Takeover() {
	var own, others []*StandIn
	s.mu.Lock()
	for _, x := range s.all {
		switch {
		case x.role != serving:
		case x.crossed:
			own = append(own, x)
		default:
			others = append(others, x)
		}
	}
	s.mu.Unlock()
	if len(others) == 0 && s.image.Inherited.Number(handover.Beside) != 0 {
		s.image.Beside.SetGive(nil)
		s.image.Beside.SetServes(false)
	}
	s.image.Drainers.Release()
	for _, x := range own {
		x.Retire()
	}
}

// RetireOthers retires the stand-ins that serve, but for x.
func (s *Set) RetireOthers(x *StandIn) {
	s.mu.Lock()
	others := slices.DeleteFunc(slices.Clone(s.all), func(other *StandIn) bool { return other == x || other.role != serving })
	s.mu.Unlock()
	for _, other := range others {
		other.Retire()
	}
}

// Empty reports whether there is no stand-in.
func (s *Set) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all) == 0
}

// AwaitRoom waits until fewer than the given number of stand-ins are left, or for the end of ctx,
// whose cause it returns.
func (s *Set) AwaitRoom(ctx context.Context, fewer int) error {
	for {
		s.mu.Lock()
		n, changed := len(s.all), s.changed
		s.mu.Unlock()
		if n < fewer {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// OnPresence has f called when there is a stand-in, at once if there is one already, and when there
// is none any more, in turns. f returns soon, and does not use the set.
func (s *Set) OnPresence(f func(present bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.present = f
	if len(s.all) > 0 {
		f(true)
	}
}

// add adds x, which is connected.
func (s *Set) add(x *StandIn) {
	s.mu.Lock()
	s.all = append(s.all, x)
	if len(s.all) == 1 && s.present != nil {
		s.present(true)
	}
	s.mu.Unlock()
	x.run()
}

// remove is called when x has ended. During a pause it waits.
func (s *Set) remove(x *StandIn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.paused != nil {
		paused := s.paused
		s.mu.Unlock()
		<-paused
		s.mu.Lock()
	}
	s.all = slices.DeleteFunc(s.all, func(other *StandIn) bool { return other == x })
	if len(s.all) == 0 && s.present != nil {
		s.present(false)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	x.link.transport.close()
	x.process.close()
	close(x.removed)
}

// role is what a stand-in does, as its main process has told it.
type role int

const (
	starting role = iota
	serving
	retiring
)

// record is what crosses an exec of a stand-in, beside its PID and descriptors: its role, how many
// ms it may drain, and in how many ms it is killed. The clock may be set during the exec, so that is
// no time of day. It is called with the set locked.
func (x *StandIn) record() string {
	left := int64(0)
	if x.role == retiring {
		left = time.Until(x.deadline).Milliseconds()
	}
	return strconv.Itoa(int(x.role)) + "/" + strconv.FormatInt(x.drain.Milliseconds(), 10) + "/" + strconv.FormatInt(left, 10)
}

// readRecord undoes record. A record of an unknown form is that of a stand-in that retires now.
func (x *StandIn) readRecord(text string) {
	fields := strings.Split(text, "/")
	x.role, x.deadline = retiring, time.Now().Add(graceTime)
	if len(fields) < 3 {
		return
	}
	if ms, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
		x.drain = time.Duration(ms) * time.Millisecond
	}
	switch ms, err := strconv.ParseInt(fields[2], 10, 64); {
	case fields[0] == strconv.Itoa(int(serving)):
		x.role = serving
	case err == nil && fields[0] == strconv.Itoa(int(retiring)):
		x.deadline = time.Now().Add(time.Duration(ms) * time.Millisecond)
	}
}
