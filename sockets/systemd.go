package sockets

import (
	"errors"
	"os"
	"slices"

	"github.com/autorestart-go/autorestart/internal/activation"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// Sockets that systemd passes lie at descriptors from 3 on, in an order that the
// variables of the environment tell, see sd_listen_fds(3). Each belongs to the part of
// the program that takes it. This package takes one at a time, by a call of Listen or
// ListenPacket that can use it, and leaves everything else as it is, for other libraries
// and for later versions: descriptors, flags and variables. These survive an exec by
// themselves, and LISTEN_PID stays right.
//
// A number that was taken may stand for no other file as long as the variables are
// there. It gets a placeholder, see [activation.NewPlaceholder]. The variables and the placeholders
// are removed when all that was announced is taken.
//
// systemd also announces the descriptors that package systemd has stored, by names of their own. Package systemd takes
// all of them at the start. In a version without that package, this package takes the sockets among them, by their
// addresses.

var (
	errOtherRights  = errors.New("this process has other rights than its starter")
	errNotAnnounced = &os.PathError{Op: "take", Path: "socket from systemd", Err: os.ErrNotExist}
)

// An announcement is what the environment announces. The zero value is nothing.
type announcement struct {
	activation.Variables
	left         map[int]bool // descriptors that this package has not taken
	placeholders []int        // where it has, in this version or an earlier one
}

// lookAtAnnounced adds the announced sockets to the registry. It changes none of them.
func (r *registry) lookAtAnnounced() {
	if !hasExec {
		return
	}
	a := activation.Get()
	unlock := r.lock()
	if r.announced.Variables == a {
		unlock()
		return
	}
	// If another library has removed the variables, what is left is not for us.
	obsolete := r.announced.placeholders
	r.inherited = slices.DeleteFunc(r.inherited, func(k key) bool { return k.kind == announced })
	sockets := r.announced.find(r, a)
	r.inherited = append(r.inherited, sockets...)
	obsolete = slices.DeleteFunc(obsolete, func(n int) bool { return slices.Contains(r.announced.placeholders, n) })
	obsolete = append(obsolete, r.announced.endIfTaken()...)
	unlock()
	r.removePlaceholders(obsolete)
}

// find fills a in, and returns the keys of the sockets that can be taken.
func (a *announcement) find(r *registry, announces activation.Variables) (sockets []key) {
	*a = announcement{Variables: announces, left: map[int]bool{}}
	names, err := a.For(r.mainPID())
	if len(names) > 0 && elevated() {
		names, err = nil, errOtherRights
	}
	if err != nil {
		r.warnInFirstVersion("ignored the sockets that LISTEN_FDS announces", "reason", err)
	}
	var ignored []int
	var reason error
	for i, name := range names {
		k := key{kind: announced, number: activation.FirstDescriptor + i, name: name}
		closeOnExec, _, err := sys.Flags(k.number)
		switch {
		case err != nil: // not open
		case closeOnExec:
			// It has not crossed an exec like that: another library has taken it, or it is
			// another file of this image.
			a.left[k.number] = true
			continue
		case activation.IsPlaceholder(k.number):
			a.placeholders = append(a.placeholders, k.number)
			continue
		default:
			a.left[k.number] = true
			k.network, k.local, err = networkAndAddress(k.number)
		}
		if err == nil {
			sockets = append(sockets, k)
			continue
		}
		if k.isStored() {
			continue
		}
		if len(ignored) == 0 {
			reason = err
		}
		ignored = append(ignored, k.number)
	}
	if len(ignored) > 0 {
		r.warnInFirstVersion("ignored descriptors that LISTEN_FDS announces: they are no listeners and no packet sockets",
			"descriptors", len(ignored), "first", ignored[0], "reason", reason)
	}
	return sockets
}

// warnInFirstVersion logs what every later version finds, too.
func (r *registry) warnInFirstVersion(msg string, args ...any) {
	if r.isFirstVersion() {
		report.Warn(msg, args...)
	}
}

// announcedFile returns a duplicate of the announced socket with the key k. The error
// wraps [os.ErrNotExist] if it is not there any more.
func announcedFile(k key) (*os.File, error) {
	closeOnExec, _, err := sys.Flags(k.number)
	if err != nil || closeOnExec {
		return nil, errNotAnnounced
	}
	if network, local, err := networkAndAddress(k.number); err != nil || network != k.network || local != k.local {
		return nil, errNotAnnounced
	}
	fd, err := sys.Duplicate(k.number)
	if err != nil {
		return nil, err
	}
	return fd.File(k.local), nil
}

// isNonblocking reports whether f was opened or made nonblocking.
func isNonblocking(f *os.File) (nonblocking bool) {
	if conn, err := f.SyscallConn(); err == nil {
		conn.Control(func(fd uintptr) { _, nonblocking, _ = sys.Flags(int(fd)) })
	}
	return nonblocking
}

// takeAnnounced takes the announced socket with the key k from its number: the duplicate
// that the caller has is the only one from now on. A rollback puts it back, nonblocking or
// not.
func (r *registry) takeAnnounced(k key, nonblocking bool) error {
	placeholder, err := activation.NewPlaceholder()
	if err != nil {
		return err
	}
	defer placeholder.Close()
	var kept *sys.FD
	if r.rollbackPossible() {
		// The previous version finds the socket where this one has found it.
		if kept, err = sys.Duplicate(k.number); err != nil {
			return err
		}
	}
	if err := placeholder.DuplicateOver(k.number); err != nil {
		if kept != nil {
			kept.Close()
		}
		return err
	}
	if kept != nil {
		r.keepForRollback(kept, k.number, nonblocking)
	}
	unlock := r.lock()
	a := &r.announced
	delete(a.left, k.number)
	a.placeholders = append(a.placeholders, k.number)
	obsolete := a.endIfTaken()
	unlock()
	r.removePlaceholders(obsolete)
	return nil
}

// endIfTaken removes the variables from the environment if all that they announce is
// taken. It returns the placeholders that are not needed any more.
func (a *announcement) endIfTaken() (obsolete []int) {
	if len(a.left) > 0 || len(a.placeholders) == 0 {
		return nil
	}
	activation.Unset()
	obsolete = a.placeholders
	*a = announcement{}
	return obsolete
}

// removePlaceholders closes placeholders. After a rollback the previous version needs
// them: it has the environment that this one was executed with. It is called without a
// lock.
func (r *registry) removePlaceholders(numbers []int) {
	for _, n := range numbers {
		// A library that has taken it has made it close-on-exec.
		if closeOnExec, _, err := sys.Flags(n); err == nil && !closeOnExec && activation.IsPlaceholder(n) {
			r.keepForRollback(sys.NewFD(n), n, true)
		}
	}
}
