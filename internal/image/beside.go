package image

import (
	"errors"
	"sync"
)

// A Conn is a connection, or another socket, on its way to another process that has the same sockets.
type Conn struct {
	Key   string // the listener and the kind of the connection, as package sockets formats it
	State []byte // what this process has read of a request; may be empty
	FD    int    // a descriptor of it
}

// Beside is another process that has the sockets of this image and serves beside it: the stand-in
// of this process, or the process whose stand-in this one is. The zero value is none.
type Beside struct {
	mu      sync.Mutex
	serves  bool
	leaves  bool
	present bool
	give    func(Conn) error // nil if the process takes no connections
	take    func(Conn) bool  // nil before Taker

	onLost, onShare, onPresence, onRejection []func()
	onServes                                 []func(serves bool)
}

// Present reports whether there is a stand-in, or is about to be one: it has copies of the sockets.
func (b *Beside) Present() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.present
}

// SetPresent says whether there is a stand-in. It is called before one starts.
func (b *Beside) SetPresent(present bool) {
	b.mu.Lock()
	changed := b.present != present
	b.present = present
	callbacks := b.onPresence
	b.mu.Unlock()
	if changed {
		call(callbacks)
	}
}

// OnPresence has f called after each change of Present.
func (b *Beside) OnPresence(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onPresence = append(b.onPresence, f)
}

// Serves reports whether the other process accepts from the sockets, or is about to. Then this
// process takes no client out of a kernel's queue for the next version.
func (b *Beside) Serves() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.serves
}

// SetServes says whether the other process accepts from the sockets, or is about to. It is called
// before a drain begins and, with false, before it ends.
func (b *Beside) SetServes(serves bool) {
	b.mu.Lock()
	b.serves = serves
	callbacks := b.onServes
	b.mu.Unlock()
	for _, f := range callbacks {
		f(serves)
	}
}

// OnServes has f called by each SetServes.
func (b *Beside) OnServes(f func(serves bool)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onServes = append(b.onServes, f)
}

// Reject says that a stand-in which does not serve never will.
func (b *Beside) Reject() {
	b.mu.Lock()
	callbacks := b.onRejection
	b.mu.Unlock()
	call(callbacks)
}

// OnRejection has f called by each Reject.
func (b *Beside) OnRejection(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onRejection = append(b.onRejection, f)
}

// OnShare has f called when this process is a stand-in that is ready. f gives the sockets that
// only this process has to the other one. The version that the other process executes inherits
// them from there: it opens the same addresses as this one.
func (b *Beside) OnShare(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onShare = append(b.onShare, f)
}

// Share calls what OnShare has registered. It is called after SetGive, and before this process serves.
func (b *Beside) Share() {
	b.mu.Lock()
	callbacks := b.onShare
	b.mu.Unlock()
	call(callbacks)
}

func call(callbacks []func()) {
	for _, f := range callbacks {
		f()
	}
}

// Leaves reports whether this process ends after the next drain, and no exec follows. Then what
// would cross the exec is lost, unless the other process takes it.
func (b *Beside) Leaves() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leaves
}

// SetLeaves says that this process ends after the next drain. It is called before that begins.
func (b *Beside) SetLeaves() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leaves = true
}

var (
	// ErrNotTaken says that the other process has done nothing with a connection.
	ErrNotTaken = errors.New("the other process does not take the connection")

	// ErrLost says that the other process has ended. If it has taken the connection at the last
	// moment, it may have read from it.
	ErrLost = errors.New("the other process has ended")
)

// Give gives a connection to the other process, and waits until that has taken it. The caller
// still owns the descriptor. Unless the error is nil, the connection is the caller's alone:
// [ErrNotTaken] or [ErrLost].
func (b *Beside) Give(c Conn) error {
	b.mu.Lock()
	give := b.give
	b.mu.Unlock()
	if give == nil {
		return ErrNotTaken
	}
	return give(c)
}

// Takes reports whether Give may succeed.
func (b *Beside) Takes() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.give != nil
}

// SetGive has Give call f from now on, or fail if f is nil.
func (b *Beside) SetGive(f func(Conn) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.give = f
}

// Taker has f take the connections that the other process gives. If f returns true, it owns the
// descriptor. Otherwise it has done nothing with the connection. f returns soon.
func (b *Beside) Taker(f func(Conn) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.take = f
}

// Take has a connection taken that the other process has given.
func (b *Beside) Take(c Conn) (taken bool) {
	b.mu.Lock()
	take := b.take
	b.mu.Unlock()
	return take != nil && take(c)
}

// OnLost has f called when this process is a stand-in and the process that it stands in for has
// ended. f closes the listening sockets: the next start needs their addresses.
func (b *Beside) OnLost(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onLost = append(b.onLost, f)
}

// Lose calls what OnLost has registered.
func (b *Beside) Lose() {
	b.mu.Lock()
	callbacks := b.onLost
	b.mu.Unlock()
	call(callbacks)
}
