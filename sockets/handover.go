package sockets

import (
	"cmp"
	"context"
	"os"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// This file contains all uses of package autorestart, and of the handover from one version
// to the next.

func init() {
	image.Sockets.Make(func(i *image.Image) unsafe.Pointer {
		r := &registry{Image: i}
		i.Drainers.AlwaysNotify() // a socket may be opened during a restart
		i.Store.OnSettling(r.retireUnclaimed)
		i.Store.OnSettled(r.forgetUnclaimed)
		r.giver.beside = &i.Beside
		i.Drainers.BeforeSeal(r.giver.stop)
		i.Beside.Taker(r.take)
		i.Beside.OnLost(r.lose)
		i.Beside.OnShare(r.share)
		i.Beside.OnServes(r.besideServes)
		i.Beside.OnRejection(r.besideRejected)
		i.Beside.OnPresence(r.restartRetirements)
		return unsafe.Pointer(r)
	})
}

// currentRegistry returns the registry of the image that the caller is in.
func currentRegistry() *registry { return (*registry)(image.Sockets.Of(image.Current())) }

// isFirstVersion reports whether no version ran in this process before.
func (r *registry) isFirstVersion() bool { return r.Inherited.Number(handover.Generation) == 0 }

// mainPID returns the PID of the main process, to which a supervisor has passed sockets: a stand-in
// has them at the same descriptors.
func (r *registry) mainPID() int {
	if r.Inherited.IsStandIn {
		return r.Inherited.Number(handover.PID)
	}
	return os.Getpid()
}

// registerDrainer has d drained before each exec, until unregister is called.
func (r *registry) registerDrainer(d autorestart.Drainer) (unregister func()) {
	return r.Drainers.Register(d)
}

// quiesceNow quiesces d before its turn if a drain is under way, and reports whether one is.
func (r *registry) quiesceNow(d autorestart.Drainer) (draining bool) {
	return r.Drainers.QuiesceNow(d)
}

// beforeExec has f called right before each exec, after everything was drained, until remove
// is called.
func (r *registry) beforeExec(f func()) (remove func()) { return r.Drainers.BeforeSeal(f) }

// openForDrain is called before a socket is bound that will be registered. It waits while an
// exec is under way. No exec begins until done is called.
func (r *registry) openForDrain(ctx context.Context) (done func(), err error) {
	return r.Drainers.Opening(ctx)
}

// claimForDrain is the same for an inherited socket. It waits for the end of a drain.
func (r *registry) claimForDrain(ctx context.Context) (done func(), err error) {
	return r.Drainers.Claiming(ctx)
}

// awaitDrainEnd waits for the end of a drain, and reports whether one was under way.
func (r *registry) awaitDrainEnd(ctx context.Context) (waited bool, err error) {
	return r.Drainers.AwaitEnd(ctx)
}

// passedName returns the name under which a socket with the key k crosses the exec.
func (k key) passedName() passing.Name { return passing.Name(k.String()) }

// passFile passes f to the next version under the key. The caller still owns f.
func (r *registry) passFile(k key, f *os.File) error { return r.Store.Pass(k.passedName(), f) }

// passSocket passes s to the next version under the key. The caller still owns s. On
// systems without an exec it does nothing.
func (r *registry) passSocket(k key, s socket) error {
	if !hasExec {
		return nil
	}
	f, err := s.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return r.passFile(k, f)
}

// stopPassing undoes passFile and passSocket. A file that was inherited under the key
// and is unclaimed is closed.
func (r *registry) stopPassing(k key) { r.Store.Unpass(k.passedName()) }

// inheritedKeys returns the keys of the sockets that were passed to this version.
func (r *registry) inheritedKeys() (keys []key) {
	for _, name := range r.Store.Names() {
		if k, ok := parseKey(string(name)); ok {
			keys = append(keys, k)
		}
	}
	return keys
}

// inheritedFile returns the file that was passed under the key. The caller owns it. It
// is passed on to the next version as well. The error wraps [os.ErrNotExist] if there
// is no such file.
func (r *registry) inheritedFile(k key) (*os.File, error) { return r.Store.Inherited(k.passedName()) }

// lendSocket passes s and the state, which may be nil, to the next version under the key. Its
// descriptor crosses, so it must not be closed before stopPassing. lastUse tells which
// connections are left out where there is no room for all. On systems without an exec it does
// nothing.
func (r *registry) lendSocket(k key, s streamSocket, state []byte, lastUse time.Time) (err error) {
	if !hasExec {
		return nil
	}
	ctl := withDescriptor(s, func(fd int) { err = r.Store.Lend(k.passedName(), fd, state, lastUse) })
	return cmp.Or(ctl, err)
}

// lendFile passes the descriptor fd and the state, which may be nil, to the next version under
// the key. It fails if a standard stream is closed, has the number, and there is no other
// descriptor.
func (r *registry) lendFile(k key, fd int, state []byte) error {
	return r.Store.Lend(k.passedName(), fd, state, time.Now())
}

// parks reports whether a drain parks connections: for the next version, or for the process
// beside this one.
func (r *registry) parks() bool { return !r.Beside.Leaves() || r.Beside.Takes() }

// isDraining reports whether this process is about to be replaced, or to end.
func (r *registry) isDraining() bool { return r.Drainers.IsDraining() }

// claimFile claims the connection that was passed under oldKey, and its state. From now on its
// key is k. The store owns the descriptor, until takeFile.
func (r *registry) claimFile(oldKey, k key) (fd int, state []byte, ok bool) {
	return r.Store.Claim(oldKey.passedName(), k.passedName(), time.Now())
}

// takeFile takes the connection with the key, which claimFile has returned, out of the store.
// It is passed neither to the next version nor, in a rollback, to the previous one.
func (r *registry) takeFile(k key) {
	if fd, ok := r.Store.Take(k.passedName()); ok {
		fd.Release()
	}
}

// receiverKnows reports whether the next version knows connections that are [unread] or [begun].
// In a rollback that is the previous one.
func (r *registry) receiverKnows() bool { return r.Store.ReceiverKnows() }

// rollbackPossible reports whether the previous version may be executed again, and need
// what it has passed to this one.
func (r *registry) rollbackPossible() bool { return r.Store.RollbackPossible() }

// keepForRollback has a rollback put fd at the given number, and make it blocking unless
// it was nonblocking. It takes over fd, and closes it when there can be no rollback any
// more.
func (r *registry) keepForRollback(fd *sys.FD, number int, nonblocking bool) {
	if r.Trial.PutBack(fd.Int(), number, nonblocking) {
		fd.Release()
		return
	}
	fd.Close()
}

// elevated reports whether this process has other rights than its starter, who can
// have set any variable and passed any descriptor.
func elevated() bool { return handover.Elevated() }
