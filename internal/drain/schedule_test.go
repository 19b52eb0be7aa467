package drain

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestSchedules runs drains of random members, with random events meanwhile. A schedule that fails is
// repeated by its name: go test -run TestSchedules/seed=17$ ./internal/drain
func TestSchedules(t *testing.T) {
	logLines() // not by the logger of another test
	for seed := range uint64(150) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newSchedule(t, seed).run() })
		})
	}
}

// A schedule is a group with what the test knows of its members.
type schedule struct {
	t     *testing.T
	group Group

	// rollbacks is whether a rollback may begin during a drain. Then no member misbehaves: the other
	// drain would wait for a mutex, and the clock of the bubble would stop.
	rollbacks bool

	mu       sync.Mutex
	random   *rand.Rand
	members  []*scheduled // that were registered; also those that are not any more
	draining bool         // from the first Quiesce of a drain to the first Resume
	reached  int          // the highest stage of that drain so far
	deadline time.Time    // of that drain
}

// A scheduled is a member of a schedule.
type scheduled struct {
	*schedule
	number, order int

	registered        bool // from the end of Register until unregister is called
	gone              bool // unregister has returned
	quiesced          bool // Quiesce was called, and Resume was not
	drains, drained   int  // calls of Drain, and those that have returned, in this drain
	quiesces, resumes int
	stuck             bool // a method does not return within hookTimeout, or panics
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	return &schedule{t: t, random: rand.New(rand.NewPCG(seed, 0)), rollbacks: seed%4 == 0}
}

// chance is true once in n times.
func (s *schedule) chance(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n) == 0
}

// a returns a random time.
func (s *schedule) a(longest time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.random.Int64N(int64(longest)))
}

func (s *schedule) errorf(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("after %v: "+format, append([]any{s.deadline}, args...)...)
}

func (m *scheduled) DrainOrder() int { return m.order }

// Quiesce is in order: what is in an earlier stage is drained, or the time is up. What is
// registered when its stage has come is late.
func (m *scheduled) Quiesce() {
	m.mu.Lock()
	if m.quiesced || m.gone {
		m.errorf("member %d is quiesced twice, or gone", m.number)
	}
	m.quiesced, m.draining = true, true
	m.quiesces++
	late := m.order <= m.reached
	for _, other := range m.members {
		if !late && other.order < m.order && other.registered && other.drained == 0 && time.Now().Before(m.deadline) {
			m.errorf("member %d of stage %d is quiesced before member %d of stage %d is drained", m.number, m.order, other.number, other.order)
		}
	}
	m.reached = max(m.reached, m.order)
	m.mu.Unlock()
	m.misbehave()
}

func (m *scheduled) Drain(ctx context.Context) error {
	m.mu.Lock()
	if !m.quiesced {
		m.errorf("member %d is drained without being quiesced", m.number)
	}
	m.drains++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.drained++
		m.mu.Unlock()
	}()
	m.misbehave()
	select {
	case <-time.After(m.a(3 * time.Second)):
		return nil
	case <-ctx.Done():
		return errors.New("something is left")
	}
}

// Resume is called once for each Quiesce, and in the opposite order.
func (m *scheduled) Resume() {
	m.mu.Lock()
	if !m.quiesced || m.gone {
		m.errorf("member %d resumes and was not quiesced, or is gone", m.number)
	}
	m.quiesced = false
	m.resumes++
	for _, other := range m.members {
		if other.order > m.order && other.quiesced && !other.gone && !other.anyStuck() {
			m.errorf("member %d of stage %d resumes before member %d of stage %d", m.number, m.order, other.number, other.order)
		}
	}
	m.mu.Unlock()
	m.misbehave()
}

// anyStuck reports whether a member has not returned in time: then the others do not wait.
func (s *schedule) anyStuck() bool {
	for _, m := range s.members {
		if m.stuck {
			return true
		}
	}
	return false
}

// misbehave takes a while, blocks, or panics; seldom.
func (m *scheduled) misbehave() {
	switch {
	case m.rollbacks:
	case m.chance(20):
		m.setStuck()
		time.Sleep(m.a(20 * time.Second))
	case m.chance(20):
		m.setStuck()
		panic("a panic")
	default:
		time.Sleep(m.a(10 * time.Millisecond))
	}
}

func (m *scheduled) setStuck() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stuck = true
}

// add registers a member. It may unregister it later.
func (s *schedule) add() {
	s.mu.Lock()
	m := &scheduled{schedule: s, number: len(s.members), order: 10 * (s.random.IntN(4) - 1)}
	s.members = append(s.members, m)
	s.mu.Unlock()
	unregister := s.group.Register(m)
	s.mu.Lock()
	m.registered = true
	s.mu.Unlock()
	if s.chance(4) {
		time.Sleep(s.a(5 * time.Second))
		s.mu.Lock()
		m.registered = false
		s.mu.Unlock()
		unregister()
		s.mu.Lock()
		m.gone = true
		s.mu.Unlock()
	}
}

// events happen during a drain.
func (s *schedule) events(events *sync.WaitGroup) {
	for range 6 {
		events.Go(func() {
			time.Sleep(s.a(6 * time.Second))
			s.add()
		})
	}
	if s.rollbacks {
		events.Go(func() {
			time.Sleep(s.a(3 * time.Second))
			s.mu.Lock()
			if end := time.Now().Add(rollbackTimeout); end.Before(s.deadline) {
				s.deadline = end
			}
			s.mu.Unlock()
			_, _, resume := s.group.BeginRollback()
			time.Sleep(s.a(time.Second))
			resume()
		})
	}
}

func (s *schedule) run() {
	for range 4 {
		var events sync.WaitGroup
		for range 4 {
			events.Go(s.add)
		}
		synctest.Wait()
		s.drain(&events)
		events.Wait()
		time.Sleep(time.Minute) // what is stuck returns
		synctest.Wait()
		s.checkResumed()
	}
}

// drain begins a drain, which is called off or not, and resumes.
func (s *schedule) drain(events *sync.WaitGroup) {
	timeout := s.a(8 * time.Second)
	if s.chance(8) {
		timeout = -1
	}
	s.mu.Lock()
	s.draining, s.reached, s.deadline = false, -1000, time.Now().Add(timeout)
	for _, m := range s.members {
		m.drains, m.drained, m.stuck = 0, 0, false
	}
	s.mu.Unlock()
	s.events(events)
	ctx, cancel := context.WithCancelCause(s.t.Context())
	defer cancel(nil)
	off := errors.New("called off")
	if s.chance(4) {
		time.AfterFunc(s.a(6*time.Second), func() { cancel(off) })
	}
	start := time.Now() // members that block cost two of hookTimeout when they are quiesced, at the deadline too, and when they resume
	d, err := s.group.Begin(ctx, timeout, func([]string) {})
	if took, most := time.Since(start), max(timeout, 0)+7*hookTimeout; took > most {
		s.errorf("the drain took %v, want at most %v", took, most)
	}
	if err != nil {
		if err != off {
			s.errorf("%v", err)
		}
		return
	}
	d.Seal()
	s.checkDrained()
	d.Resume()
}

// checkDrained: nothing is left out.
func (s *schedule) checkDrained() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.anyStuck() {
		return
	}
	for _, m := range s.members {
		if m.registered && (!m.quiesced || m.drains == 0) {
			s.errorf("member %d of stage %d is left out: quiesced %t, drained %d times", m.number, m.order, m.quiesced, m.drains)
		}
	}
}

// checkResumed: what was quiesced has resumed.
func (s *schedule) checkResumed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if !m.gone && (m.quiesced || m.quiesces != m.resumes) {
			s.errorf("member %d was quiesced %d times and resumed %d times", m.number, m.quiesces, m.resumes)
		}
	}
	if s.group.drains != 0 || s.group.resuming != 0 || s.group.sealed != 0 {
		s.errorf("drains %d, resuming %d, sealed %d", s.group.drains, s.group.resuming, s.group.sealed)
	}
}
