// Package passing keeps the files and the states that a program passes on to its next
// image. It owns the descriptors of these files.
package passing

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// UnclaimedTimeout is how long an image that never becomes ready has to claim what
// was passed to it.
const UnclaimedTimeout = time.Minute

// A Store has the files and states of one image: those that the previous image passed
// to it, and those that it passes on.
type Store struct {
	mu        sync.Mutex
	inherited *handover.State
	restored  bool          // see Restore
	settled   chan struct{} // closed when what was unclaimed is closed
	onSettled []func()
	onTaken   []func()

	// receiverOlder says that the image that comes next does not know all kinds of
	// connections.
	receiverOlder atomic.Bool

	settling   sync.Mutex // above mu; held while onSettling is called, and until settled
	onSettling []func()
	timer      *time.Timer // of StartTimer; nil before

	// content is nil until the program uses the store: until then, what was inherited
	// crosses the next exec as it came. It is an interface so that a program that
	// passes nothing on does not contain the code for it.
	content interface {
		addTo(h *handover.State) (release func(), err error)
		handBack(h *handover.State) (release func())
		closeUnclaimed()
		empty() bool
	}
}

// NewStore returns a store with what was inherited.
func NewStore(inherited *handover.State) *Store {
	s := new(Store)
	s.Inherit(inherited)
	return s
}

// Inherit has the store begin with what was inherited.
func (s *Store) Inherit(inherited *handover.State) {
	s.inherited, s.settled = inherited, make(chan struct{})
}

// Settled returns a channel that is closed when what was unclaimed is closed. It is closed
// already if nothing was handed to this image.
func (s *Store) Settled() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.handedOver() {
		return closed
	}
	return s.settled
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// isSettled is called with s locked.
func (s *Store) isSettled() bool {
	select {
	case <-s.settled:
		return true
	default:
		return false
	}
}

// Empty reports whether this image has neither files nor states, as far as it has
// used the store.
func (s *Store) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content == nil || s.content.empty()
}

// HandOver adds the files and the states to h and calls exec. Until exec returns, the
// store is locked, so that nothing that h names is closed.
func (s *Store) HandOver(h *handover.State, exec func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.content != nil:
		release, err := s.content.addTo(h)
		if err != nil {
			return err
		}
		defer release()
	case !s.isSettled():
		for _, kind := range [...]handover.NumberKind{handover.File, handover.Manifest} {
			h.Numbers[kind] = s.inherited.Numbers[kind]
		}
		h.Texts[handover.Content] = s.inherited.Texts[handover.Content]
	}
	return exec()
}

// SetReceiverKnows says whether the image that comes next, or that a rollback executes, knows
// all kinds of connections, see [handover.KnowsConnections]. It is called before the drain.
func (s *Store) SetReceiverKnows(knows bool) { s.receiverOlder.Store(!knows) }

// ReceiverKnows reports whether connections of every kind can be passed. They can until
// [Store.SetReceiverKnows] is called. It takes no lock, so it can be called during an exec.
func (s *Store) ReceiverKnows() bool { return !s.receiverOlder.Load() }

// RollbackPossible reports whether the previous image may still be executed again,
// and need what it handed over. Unlike [handover.Trial.On] it does not wait for a
// rollback that is under way.
func (s *Store) RollbackPossible() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rollbackPossible()
}

// rollbackPossible is called with s locked.
func (s *Store) rollbackPossible() bool {
	return !s.isSettled() && s.inherited.Number(handover.ReadyWithin) != 0
}

// OnSettling has f called before what is unclaimed is closed: when this image becomes ready, and
// again when the time is over in which a version that is ready may be rolled back. It can claim
// more.
func (s *Store) OnSettling(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onSettling = append(s.onSettling, f)
}

// OnSettled has f called when what was unclaimed is closed.
func (s *Store) OnSettled(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onSettled = append(s.onSettled, f)
}

// StartTimer has f called after the time that an image has to claim what was passed
// to it.
func (s *Store) StartTimer(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(UnclaimedTimeout, f)
}

// ShortenTimer has the timer, if there is one, expire after d. It is for tests.
func (s *Store) ShortenTimer(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Reset(d)
	}
}

// CloseUnclaimed closes the inherited files, and forgets the inherited states, that
// this image has not claimed. Calls after the first do nothing.
func (s *Store) CloseUnclaimed() {
	for _, f := range s.settle() {
		f()
	}
}

// BeginSettling calls what OnSettling has registered, while the unclaimed files stay open: this
// image is ready, and may still be rolled back. CloseUnclaimed calls it again.
func (s *Store) BeginSettling() {
	s.settling.Lock()
	defer s.settling.Unlock()
	s.callOnSettling()
}

// callOnSettling reports whether the unclaimed files are open. It is called with settling locked.
func (s *Store) callOnSettling() (open bool) {
	s.mu.Lock()
	settled, before := s.isSettled(), slices.Clone(s.onSettling)
	s.mu.Unlock()
	if settled {
		return false
	}
	for _, f := range before {
		f()
	}
	return true
}

// settle returns what is to be called once the unclaimed files are closed.
func (s *Store) settle() (callbacks []func()) {
	s.settling.Lock()
	defer s.settling.Unlock()
	if !s.callOnSettling() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.settled)
	if s.content != nil {
		s.content.closeUnclaimed()
	} else if files := s.inherited.Numbers[handover.File]; len(files) > 0 {
		report.Warn("closed all inherited files: this version has claimed none", "files", len(files))
		closeAll(files)
	}
	closeAll(s.inherited.Numbers[handover.Manifest])
	return slices.Clone(s.onSettled)
}

func closeAll(descriptors []int) {
	for _, fd := range descriptors {
		sys.NewFD(fd).Close()
	}
}
