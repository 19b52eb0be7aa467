package autorestart

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/handover"
)

// Ready says that this version works: that it has opened and asked for what it
// needs, and serves. What was handed over and nobody has asked for is closed, a
// signal that nobody has subscribed to gets its default action again, and the
// version before can't come back any more, see [Restarter.ReadyTimeout].
//
// Every version of a program should call it that listens with package sockets,
// passes files on, or is executed with a ReadyTimeout. Calls after the first do
// nothing.
func Ready() {
	handover.EndProbation()
	readySince.CompareAndSwap(0, time.Now().UnixNano())
	settleHandover()
}

// ErrNoRollback answers [Rollback] in a version that can't be taken back: it was
// started afresh or without a [Restarter.ReadyTimeout], or it is ready.
var ErrNoRollback = handover.ErrNoRollback

// Rollback says that this version does not work: the one before is executed again, with
// the same PID, listeners and state, and learns of err from [RolledBack]. The version that
// failed is not executed again until its file is written or replaced.
//
// Rollback returns only if that is not possible.
func Rollback(err error) error {
	reason := "it failed"
	if err != nil {
		reason = err.Error()
	}
	return handover.Return(presentable(reason))
}

// maxReason is how much of a reason goes back, in bytes: execve(2) takes no variable
// of more than 128 KiB, and the others in there have the greater need.
const maxReason = 4 << 10

// presentable returns what of a reason can be in a variable.
func presentable(reason string) string {
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	return strings.ReplaceAll(reason, "\x00", "�")
}

// RollbackUnlessReady takes this version back if main panics, or returns, before it has called
// [Ready]. It is to be deferred, at the top of main:
//
//	defer autorestart.RollbackUnlessReady()
//
// Other goroutines, [os.Exit], and so log.Fatal, and fatal errors of the runtime are
// beyond its reach.
func RollbackUnlessReady() {
	panicked := recover()
	if handover.OnProbation() {
		reason := "main returned before it was ready"
		if panicked != nil {
			reason = "main panicked: " + panicText(panicked)
			// What the runtime would have said.
			stack := make([]byte, 64<<10)
			stack = stack[:runtime.Stack(stack, false)]
			writeStderr(append([]byte("panic: "+panicText(panicked)+"\n\n"), stack...))
		}
		handover.Return(presentable(reason))
	}
	if panicked != nil {
		panic(panicked)
	}
}

func panicText(v any) (text string) {
	defer func() { // a nil pointer in an error, as a rule
		if recover() != nil {
			text = "with a value that can't be printed"
		}
	}()
	switch v := v.(type) {
	case error:
		return v.Error()
	case string:
		return v
	case interface{ String() string }:
		return v.String()
	default:
		return "with a value that is no text"
	}
}

// RollbackError says that this version runs again because a newer one failed.
type RollbackError struct {
	Generation int    // of the version that failed
	Reason     string // what it passed to Rollback, or what else happened
}

func (e *RollbackError) Error() string {
	return "autorestart: the new version was taken back: " + e.Reason
}

// RolledBack returns a [*RollbackError] if this version runs again because a newer
// one failed, and nil otherwise.
func RolledBack() error {
	if inherited.Texts[handover.Failed] == "" {
		return nil
	}
	return &RollbackError{Generation: Generation() - 1, Reason: inherited.Texts[handover.Reason]}
}

// putOnProbation adds to h what going back takes: the running image, and the
// working directory.
func (r *Restarter) putOnProbation(h *handover.Handover) error {
	// This version may not have shown that it works: then the next goes back further.
	err := h.KeepWayBack()
	if err == handover.ErrNoRollback {
		err = nil
		for _, f := range [...]struct {
			kind int
			path string
		}{{handover.Previous, selfExe}, {handover.Dir, "."}} {
			fd, err := openPathOnly(f.path)
			if err != nil {
				return &os.PathError{Op: "restart with ReadyTimeout: open", Path: f.path, Err: err}
			}
			h.Set(f.kind, fd)
			h.Temporary = append(h.Temporary, fd)
		}
	}
	const most = 1 << 30 // ms: what Parse takes, and for ever as good as
	h.Set(handover.ReadyWithin, int(min(max(1, r.ReadyTimeout.Milliseconds()), most)))
	return err
}

// returnable returns nil if c can be taken back.
func returnable(c *candidate.Candidate) error {
	switch {
	case !handover.CanReturn || handover.Elevated():
		return &os.PathError{Op: "restart with ReadyTimeout", Path: c.Path, Err: errors.ErrUnsupported}
	case c.Build.WithoutLibrary:
		return &RejectedError{
			Path:     c.Path,
			Found:    "a program without " + modulePath,
			Expected: "one with it: it could neither be ready in time nor be taken back",
		}
	}
	// To find out after everything has been brought to rest would cost the clients.
	fd, err := openPathOnly(selfExe)
	if err == nil {
		closeDescriptor(fd)
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		err = errors.ErrUnsupported // without /proc
	}
	err = &os.PathError{Op: "restart with ReadyTimeout: open", Path: selfExe, Err: err}
	if execTransient(err) {
		return &RejectedError{
			Path:      c.Path,
			Found:     "no way to keep the running image (" + candidate.Cause(err).Error() + ")",
			Expected:  "that it can come back",
			Retryable: true,
			Err:       err,
		}
	}
	return err
}
