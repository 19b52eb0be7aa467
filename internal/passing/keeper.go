package passing

import (
	"context"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A Keeper keeps what crosses an exec for a start that follows no exec: of the program after it has
// crashed. It gets what was passed and claimed, and what is inherited and unclaimed, but for connections
// and the packets of packet connections, and for sockets that systemd owns: systemd passes these again.
//
// Its methods but Flush are called with the store locked, so they must not call it, and return soon.
type Keeper interface {
	// Begin is called once, with all that there is.
	Begin(files []KeptFile, states []KeptState)

	// KeepFile is called when a file is passed under a name, in place of the one that had it. The
	// descriptor stays the store's, and open until DropFile has returned.
	KeepFile(KeptFile)

	// DropFile is called before the file with a name is closed, if there is one. Unless atOnce, the
	// program has closed a socket that it was using. That may be because the program is about to end: then
	// the next start needs the socket.
	DropFile(name Name, atOnce bool)

	// KeepState is called with each value that is set. A nil value removes the state.
	KeepState(KeptState)

	// Flush drops at once what was dropped, and waits until others have closed it, too. The
	// error is the cause of the end of ctx.
	Flush(ctx context.Context) error
}

// A KeptFile is a file that crosses an exec.
type KeptFile struct {
	Name Name
	FD   int
}

// A KeptState is a state that crosses an exec.
type KeptState struct {
	Name  Name
	Value []byte
}

// keeping is a [Keeper] or none. It is a type of its own so that its methods can be called without
// one.
type keeping struct{ keeper Keeper }

func (k keeping) file(f *file) {
	if k.keeper != nil && f.isKept() {
		k.keeper.KeepFile(KeptFile{f.name, f.fd.Int()})
	}
}

func (k keeping) drop(f *file) {
	if k.keeper != nil && f.isKept() {
		k.keeper.DropFile(f.name, !f.claimed || !f.name.isSocket())
	}
}

func (k keeping) state(name Name, value []byte) {
	if k.keeper != nil && name.isKeptState() {
		k.keeper.KeepState(KeptState{name, value})
	}
}

func (f *file) isKept() bool { return f.connection == nil && f.name.isKeptFile() }

// SetKeeper has k keep what crosses an exec, from now on.
func (s *Store) SetKeeper(k Keeper) {
	c, unlock := s.lock()
	defer unlock()
	var files []KeptFile
	for _, f := range c.byDescriptor() {
		if f.isKept() {
			files = append(files, KeptFile{f.name, f.fd.Int()})
		}
	}
	var states []KeptState
	for _, name := range c.bySize() {
		if name.isKeptState() {
			states = append(states, KeptState{name, c.states[name].value})
		}
	}
	c.keeping = keeping{k}
	k.Begin(files, states)
}

// Activated returns how many listeners that systemd has passed cross an exec.
func (s *Store) Activated() (n int) {
	c, unlock := s.lock()
	defer unlock()
	for name := range c.files {
		if name.isActivated() {
			n++
		}
	}
	return n
}

// FlushKeeper waits until what was dropped is closed by the [Keeper], too, if there is one. It
// reports whether there is.
func (s *Store) FlushKeeper(ctx context.Context) bool {
	s.mu.Lock()
	var k Keeper
	if c, ok := s.content.(*content); ok {
		k = c.keeping.keeper
	}
	s.mu.Unlock()
	return k != nil && k.Flush(ctx) == nil
}

// Restore has the store begin with what a [Keeper] has kept, in a program that no version of itself
// has executed: as if it was inherited. It takes over the descriptors. A program that has passed a
// file or set a state of that name before keeps its own. If it is ready already, [Store.CloseUnclaimed]
// closes what is restored when it is called again.
func (s *Store) Restore(files []KeptFile, states []KeptState) {
	c, unlock := s.lock()
	defer unlock()
	for _, f := range files {
		if c.files[f.Name] != nil {
			sys.NewFD(f.FD).Close()
			continue
		}
		c.files[f.Name] = &file{name: f.Name, fd: sys.NewFD(f.FD), inherited: true}
	}
	for _, st := range states {
		if c.states[st.Name] == nil {
			c.states[st.Name] = &state{value: st.Value, inherited: true}
		}
	}
	s.restored = true
	if s.isSettled() {
		s.settled = make(chan struct{})
	}
}

// handedOver reports whether anything was handed to this image. It is called with s locked.
func (s *Store) handedOver() bool {
	return len(s.inherited.Numbers[handover.File]) > 0 || len(s.inherited.Numbers[handover.Manifest]) > 0 ||
		s.inherited.Texts[handover.Content] != "" || s.restored
}
