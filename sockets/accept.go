package sockets

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// Accept errors that pass are not returned: a server that serves many clients must not end
// because one connection was aborted, or because descriptors are short for a moment. Not
// every caller can tell them from lasting errors; [net/http.Server.Serve] can't.

// connectionErrors are errors of one connection, which accept(2) reports in its place, and
// says to treat like EAGAIN.
var connectionErrors = append([]syscall.Errno{
	syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP,
	syscall.EPERM, // of a firewall
	syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
}, moreConnectionErrors...)

func isConnectionError(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains(connectionErrors, errno)
}

const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// acceptErrors are errors in a row. The zero value is none.
type acceptErrors struct {
	any   bool
	pause time.Duration // after the last one
}

// add adds an error. If the error passes, it returns the pause before the next attempt:
// none after the first error of a connection.
func (e *acceptErrors) add(err error) (pause time.Duration, passes bool) {
	short := mayPass(err)
	if !short && !isConnectionError(err) {
		return 0, false
	}
	if short || e.any {
		e.pause = min(max(minAcceptPause, 2*e.pause), maxAcceptPause)
	}
	e.any = true
	return e.pause, true
}

// retryAccept reports whether Accept tries again after an error. Then it has paused: until
// the listener is quiesced or closed, or the caller's deadline is over, at the latest. It is
// called with l locked.
func (l *listener) retryAccept(err error) bool {
	paused := l.errors.pause > 0
	pause, passes := l.errors.add(err)
	if !passes {
		return false
	}
	if pause > 0 && !paused && !descriptors.short.Load() { // that has a line of its own
		l.mu.Unlock()
		report.Warn("cannot accept connections for now: clients wait in the kernel's queue", "listener", l.Addr().String(), "reason", err)
		l.mu.Lock()
	}
	until := time.Now().Add(pause)
	for time.Now().Before(until) && !l.held && !l.closed && !expired(l.deadline) {
		l.wait(nil, l.earlier(until))
	}
	return true
}
