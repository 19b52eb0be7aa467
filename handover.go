package autorestart

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// What crosses the exec, to the next version and back to the previous one.

// exec executes c for r and hands over what c can take. It returns only if that failed.
func (p *process) exec(r *Restarter, c *candidate.Candidate, times *RestartTimes, lastLook func() error) error {
	times.Executed = time.Now()
	switch {
	case c.Build.WithoutLibrary:
		return p.execAlone(c, "it does not contain "+modulePath, lastLook)
	case handover.Elevated():
		return p.execAlone(c, "a set-user-ID or set-group-ID program hands nothing over", lastLook)
	}
	h := p.newState(c, times)
	// The trial comes before the store: a rollback that is under way has the trial
	// locked, and waits for drainers, which may pass files on.
	kept, err := addRollback(h, r.ReadyTimeout)
	defer closeAll(kept)
	if err != nil {
		return err
	}
	err = passing.Process.HandOver(h, func() error {
		return p.execImage(c, h, lastLook)
	})
	if errors.Is(err, handover.ErrCannotAttest) && h.Number(handover.ReadyWithin) == 0 {
		return p.execAlone(c, err.Error(), lastLook)
	}
	return err
}

// execAlone executes c, which gets nothing.
func (p *process) execAlone(c *candidate.Candidate, reason string, lastLook func() error) error {
	if !passing.Process.Empty() {
		report.Warn("the new version gets no file and no state", "path", c.Path, "reason", reason)
	}
	return p.execImage(c, nil, lastLook)
}

// execImage replaces the image of this process by the candidate. For a version without this
// library h is nil: it would leave open what is handed over, and its children would inherit
// the variable. execImage returns only if the exec failed, and then everything is as it was.
func (p *process) execImage(c *candidate.Candidate, h *handover.State, lastLook func() error) error {
	if fd, ok := p.files.executableDescriptor(c); ok && byDescriptor(c, p.files.Credentials(), h != nil) {
		err := p.execve(handover.Target{Path: c.Path, FD: fd}, p.launch.args, os.Environ(), h, lastLook)
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		// There is no /proc, or no dynamic loader.
	}
	return p.execve(handover.Target{Path: c.Path}, p.launch.args, os.Environ(), h, lastLook)
}

// byDescriptor reports whether c is executed by its descriptor, so that nothing can be put
// in its place between the last look and the exec. A privileged process always does that
// where it can; where it can't, nobody with fewer rights can change where the path leads.
// For any other it has to cost nothing. A version without this library would be named after
// the descriptor, and an interpreter needs a file that stays where it is.
func byDescriptor(c *candidate.Candidate, self candidate.Credentials, handedOver bool) bool {
	return self.Privileged || handedOver && c.Kind.ELF != nil
}

// newState begins what crosses the exec of c.
func (p *process) newState(c *candidate.Candidate, times *RestartTimes) *handover.State {
	h := new(handover.State)
	h.InVariable = !handover.KnowsCarrier(c.Build.LibraryVersion)
	h.Set(handover.PID, os.Getpid())
	h.Set(handover.Generation, p.inherited.Number(handover.Generation)+1)
	h.Texts[handover.Image] = c.ID.Format()
	h.Texts[handover.Times] = times.format()
	h.Texts[handover.Path] = c.Path
	return h
}

// addRollback adds to h what a rollback of the next version needs. The caller closes
// the descriptors. A version that is itself on trial has not shown that it works: the
// next one rolls back to its predecessor.
func addRollback(h *handover.State, readyTimeout time.Duration) (descriptors []*sys.FD, err error) {
	copies, err := h.KeepRollback()
	for _, fd := range copies {
		descriptors = append(descriptors, sys.NewFD(fd))
	}
	if err == handover.ErrNotOnTrial {
		err = nil
		if readyTimeout > 0 {
			descriptors, err = addImage(h)
		}
	}
	if readyTimeout > 0 {
		h.Set(handover.ReadyWithin, int(min(max(1, readyTimeout.Milliseconds()), maxReadyWithin)))
	}
	return descriptors, err
}

// maxReadyWithin is the longest ReadyTimeout that crosses the exec: 12 days.
const maxReadyWithin = 1 << 30 // ms

// addImage adds the running image and the working directory to h.
func addImage(h *handover.State) (descriptors []*sys.FD, err error) {
	for _, f := range [...]struct {
		kind handover.NumberKind
		path string
	}{{handover.Previous, selfExe}, {handover.Dir, "."}} {
		fd, err := openPathOnly(f.path)
		if err != nil {
			return descriptors, &os.PathError{Op: "restart with ReadyTimeout: open", Path: f.path, Err: err}
		}
		descriptors = append(descriptors, fd)
		h.Set(f.kind, fd.Int())
	}
	return descriptors, nil
}

func closeAll(descriptors []*sys.FD) {
	for _, fd := range descriptors {
		fd.Close()
	}
}

// checkRollback returns nil if c can be rolled back. To find that out after the
// program was drained would cost its clients.
func checkRollback(c *candidate.Candidate) error {
	switch {
	case handover.Elevated():
		return &RejectedError{
			Path:     c.Path,
			Found:    "a program that is set-user-ID or set-group-ID, which can't be rolled back",
			Expected: "no ReadyTimeout",
		}
	case !handover.CanRollBack:
		return &os.PathError{Op: "restart with ReadyTimeout", Path: c.Path, Err: errors.ErrUnsupported}
	case c.Build.WithoutLibrary:
		return &RejectedError{
			Path:     c.Path,
			Found:    "a program without " + modulePath,
			Expected: "one with it: it could neither become ready nor be rolled back",
		}
	}
	fd, err := openPathOnly(selfExe)
	if err == nil {
		return fd.Close()
	}
	if errors.Is(err, os.ErrNotExist) {
		err = errors.ErrUnsupported // without /proc
	}
	err = &os.PathError{Op: "restart with ReadyTimeout: open", Path: selfExe, Err: err}
	if execTransient(err) {
		return &RejectedError{
			Path:      c.Path,
			Found:     "no descriptor for the running image (" + candidate.Cause(err).Error() + ")",
			Expected:  "one, to roll back to",
			Retryable: true,
			Err:       err,
		}
	}
	return err
}

// execMu has one exec at a time: each changes, for its moment, what the whole process
// shares.
var execMu sync.Mutex

// execve executes target unless lastLook, which may be nil, returns an error. Between the
// two the state is written to a file and, in a secure process, a process is forked, see
// [handover.Execute]. h is nil if nothing is handed over.
//
// What needs care beside what [handover.Execute] does: what belongs to the calling thread,
// see adoptLeader; signals whose default action ends the process, see signalSet.ignore; the
// inotify descriptors, which cross on purpose, see eventSet; and a fork in another
// goroutine, which must not inherit them.
func (p *process) execve(target handover.Target, args, env []string, h *handover.State, lastLook func() error) error {
	report.Flush(flushBeforeExec)
	execMu.Lock()
	defer execMu.Unlock()
	failed := make(chan error)
	// In a goroutine of its own, whose thread adoptLeader can give up.
	go func() { failed <- p.execveOnThread(target, args, env, h, lastLook) }()
	return <-failed
}

func (p *process) execveOnThread(target handover.Target, args, env []string, h *handover.State, lastLook func() error) error {
	defer adoptLeader()()
	// Forks wait for readers of ForkLock: no child inherits what is about to cross.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if h != nil {
		h.Numbers[handover.Inotify], h.Numbers[handover.Watch] = p.events.beginHandover()
		defer p.events.cancelHandover()
		defer p.signals.ignore(h)()
	}
	candidate.LeaseMu.Lock()
	defer candidate.LeaseMu.Unlock()
	if lastLook != nil {
		if err := lastLook(); err != nil {
			return err
		}
	}
	err := handover.Execute(target, args, env, h)
	return &os.PathError{Op: "execve", Path: target.Path, Err: err}
}

// executePrevious executes the previous version. Its caller keeps this version on
// trial meanwhile, so nothing that h names is closed.
func (p *process) executePrevious(target handover.Target, args, env []string, h *handover.State) error {
	report.Warn("rolling back to the previous version", "reason", h.Texts[handover.Reason])
	var resume func()
	if drainers := drain.Process.Notifier(); drainers != nil {
		resume = drainers.BeginRollback()
	}
	err := p.execve(target, args, env, h, nil)
	report.Warn("cannot execute the previous version", "reason", err)
	if resume != nil {
		resume()
	}
	return err
}
