package sockets

import (
	"cmp"
	"context"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// This file contains all uses of package autorestart, and of the handover from one version
// to the next.

// isFirstVersion reports whether no version ran in this process before.
func isFirstVersion() bool { return autorestart.Generation() == 0 }

// registerDrainer has d drained before each exec, until unregister is called.
func registerDrainer(d autorestart.Drainer) (unregister func()) {
	return autorestart.RegisterDrainer(d)
}

func init() { drain.Process.AlwaysNotify() } // a socket may be opened during a restart

// openForDrain is called before a socket is bound that will be registered. It waits while an
// exec is under way. No exec begins until done is called.
func openForDrain(ctx context.Context) (done func(), err error) { return drain.Process.Opening(ctx) }

// claimForDrain is the same for an inherited socket. It waits for the end of a drain.
func claimForDrain(ctx context.Context) (done func(), err error) {
	return drain.Process.Claiming(ctx)
}

// awaitDrainEnd waits for the end of a drain, and reports whether one was under way.
func awaitDrainEnd(ctx context.Context) (waited bool, err error) { return drain.Process.AwaitEnd(ctx) }

// beforeExec has f called right before each exec, after everything was drained, until remove
// is called.
func beforeExec(f func()) (remove func()) { return drain.Process.BeforeSeal(f) }

// passedName returns the name under which a socket with the key k crosses the exec.
func (k key) passedName() passing.Name { return passing.Name(k.String()) }

// passFile passes f to the next version under the key. The caller still owns f.
func passFile(k key, f *os.File) error { return passing.Process.Pass(k.passedName(), f) }

// passSocket passes s to the next version under the key. The caller still owns s. On
// systems without an exec it does nothing.
func passSocket(k key, s socket) error {
	if !hasExec {
		return nil
	}
	f, err := s.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return passFile(k, f)
}

// stopPassing undoes passFile and passSocket. A file that was inherited under the key
// and is unclaimed is closed.
func stopPassing(k key) { passing.Process.Unpass(k.passedName()) }

// inheritedKeys returns the keys of the sockets that were passed to this version.
func inheritedKeys() (keys []key) {
	for _, name := range passing.Process.Names() {
		if k, ok := parseKey(string(name)); ok {
			keys = append(keys, k)
		}
	}
	return keys
}

// inheritedFile returns the file that was passed under the key. The caller owns it. It
// is passed on to the next version as well. The error wraps [os.ErrNotExist] if there
// is no such file.
func inheritedFile(k key) (*os.File, error) { return passing.Process.Inherited(k.passedName()) }

// lendSocket passes s and the state, which may be nil, to the next version under the key. Its
// descriptor crosses, so it must not be closed before stopPassing. lastUse tells which
// connections are left out where there is no room for all. On systems without an exec it does
// nothing.
func lendSocket(k key, s streamSocket, state []byte, lastUse time.Time) (err error) {
	if !hasExec {
		return nil
	}
	ctl := withDescriptor(s, func(fd int) { err = passing.Process.Lend(k.passedName(), fd, state, lastUse) })
	return cmp.Or(ctl, err)
}

// lendFile passes the descriptor fd to the next version under the key. It fails if a standard
// stream is closed, has the number, and there is no other descriptor.
func lendFile(k key, fd int) error { return passing.Process.Lend(k.passedName(), fd, nil, time.Now()) }

// claimFile claims the connection that was passed under oldKey, and its state. From now on its
// key is k. The store owns the descriptor, until takeFile.
func claimFile(oldKey, k key) (fd int, state []byte, ok bool) {
	return passing.Process.Claim(oldKey.passedName(), k.passedName(), time.Now())
}

// takeFile takes the connection with the key, which claimFile has returned, out of the store.
// It is passed neither to the next version nor, in a rollback, to the previous one.
func takeFile(k key) {
	if fd, ok := passing.Process.Take(k.passedName()); ok {
		fd.Release()
	}
}

// receiverKnows reports whether the next version knows connections that are [unread] or [begun].
// In a rollback that is the previous one.
func receiverKnows() bool { return passing.Process.ReceiverKnows() }

// onUnclaimedClosed has f called once the inherited files that nothing has claimed are
// closed, by Ready or by its substitute.
func onUnclaimedClosed(f func()) { passing.Process.OnSettled(f) }

// onClosingUnclaimed has f called before that.
func onClosingUnclaimed(f func()) { passing.Process.OnSettling(f) }

// rollbackPossible reports whether the previous version may be executed again, and need
// what it has passed to this one.
func rollbackPossible() bool { return passing.Process.RollbackPossible() }

// keepForRollback has a rollback put fd at the given number, and make it blocking unless
// it was nonblocking. It takes over fd, and closes it when there can be no rollback any
// more.
func keepForRollback(fd *sys.FD, number int, nonblocking bool) {
	if handover.PutBackOnRollback(fd.Int(), number, nonblocking) {
		fd.Release()
		return
	}
	fd.Close()
}

// elevated reports whether this process has other rights than its starter, who can
// have set any variable and passed any descriptor.
func elevated() bool { return handover.Elevated() }
