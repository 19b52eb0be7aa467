package autorestart

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// The exec of the next version, and what crosses it.

// exec executes the candidate and hands over what it can take. It returns only if that failed.
func (p *process) exec(x *replacement) error {
	r, c, lastLook, prepared := x.r, x.c, x.lastLook, x.prepared
	if reason := handsOverNothing(c); reason != "" {
		return p.execAlone(c, reason, lastLook, prepared)
	}
	h := p.newState(c, &x.times)
	h.Texts[handover.Observed] = prepared.observed
	h.Reserve = prepared.reserve
	// The trial comes before the store: a rollback that is under way has the trial
	// locked, and waits for drainers, which may pass files on.
	defer prepared.addRollback(h, c, r)()
	defer p.beside.pause()()
	err := p.image().Store.HandOver(h, func() error {
		p.beside.handOver(p.inherited, h)
		return p.execImage(c, h, lastLook, prepared, p.execute)
	})
	if errors.Is(err, handover.ErrCannotAttest) && h.Number(handover.ReadyWithin) == 0 {
		return p.execAlone(c, err.Error(), lastLook, prepared)
	}
	return err
}

// handsOverNothing returns why c gets nothing, or "".
func handsOverNothing(c *candidate.Candidate) (reason string) {
	switch {
	case c.Build.WithoutLibrary:
		return "it does not contain " + modulePath
	case handover.Elevated():
		return "a set-user-ID or set-group-ID program hands nothing over"
	}
	return ""
}

// execAlone executes c, which gets nothing.
func (p *process) execAlone(c *candidate.Candidate, reason string, lastLook func() error, prepared *prepared) error {
	if !p.image().Store.Empty() {
		report.Warn("the new version gets no file and no state", "path", c.Path, "reason", reason)
	}
	return p.execImage(c, nil, lastLook, prepared, p.execute)
}

// execImage replaces the image of this process by the candidate. For a version without this
// library h is nil: it would leave open what is handed over, and its children would inherit
// the variable. If execute is that of this process, execImage returns only if the exec failed, and
// then everything is as it was.
func (p *process) execImage(c *candidate.Candidate, h *handover.State, lastLook func() error, prepared *prepared, execute handover.Executor) error {
	if prepared.copied != nil {
		target := handover.Target{Path: c.Path, FD: int(prepared.copied.Fd()), LastLook: lastLook}
		return execute(target, prepared.arguments(), prepared.environment(), h)
	}
	if fd, ok := p.running.executableDescriptor(c); ok && byDescriptor(c, p.files.Credentials(), h != nil) {
		target := handover.Target{Path: c.Path, FD: fd, LastLook: lastLook}
		err := execute(target, prepared.arguments(), prepared.environment(), h)
		if err == nil || !errors.Is(err, os.ErrNotExist) && p.running.whyByPath() == nil {
			return err // nil if execute has started a stand-in
		}
		// There is no /proc, it can't be searched, or there is no dynamic loader.
	}
	return execute(handover.Target{Path: c.Path, LastLook: lastLook}, prepared.arguments(), prepared.environment(), h)
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

// prepared is what an exec needs open. Once everything has been drained there may be no
// descriptor left for it, and then clients would have waited in vain.
type prepared struct {
	process *process // that executes
	reserve *handover.Reserve
	copied  *os.File // the candidate, where it is not to be executed from its file; otherwise nil

	args, env []string // that BeforeExec has changed; nil if it has not

	image, directory *sys.FD // to roll the next version back to; nil without a ReadyTimeout
	original         string  // which file image is a copy of, as handover.Original

	// trial is what this version would be rolled back to; nil if it is not on trial. The
	// descriptors are copies.
	trial *handover.State
	all   []*sys.FD

	observed string // as handover.Observed
}

// prepare opens what the exec of c for r needs, and returns why there can be none, as far as
// that can be told before. The caller closes it after the last attempt.
func (p *process) prepare(r *Restarter, rules *candidate.Rules, c *candidate.Candidate) (*prepared, error) {
	if r.readyTimeout() > 0 {
		if err := p.checkRollback(rules, c); err != nil {
			return nil, err
		}
	}
	prepared := &prepared{process: p}
	err := handover.CheckSize(c.Path, p.launch.args, os.Environ())
	if err == nil {
		prepared.copied, err = p.running.executableCopy(c)
	}
	if err == nil && handsOverNothing(c) == "" {
		err = prepared.open(r.readyTimeout(), r.BeforeExec != nil || p.image().Drainers.Notifier() != nil)
	}
	switch {
	case err == nil:
		return prepared, nil
	case execTransient(err):
		err = &RejectedError{
			Path:      c.Path,
			Found:     "a restart that would fail now (" + candidate.Cause(err).Error() + ")",
			Expected:  "enough descriptors, memory and space, and no larger environment",
			Retryable: true,
			Err:       err,
		}
	}
	prepared.close()
	return nil, err
}

// open opens what is needed. Where nothing is drained, an attempt that fails costs no client
// anything, and the exec opens the files for what is handed over by itself.
func (x *prepared) open(readyTimeout time.Duration, drains bool) (err error) {
	p := x.process
	if drains {
		if err = execve.PrepareExecutor(); err != nil {
			return err
		}
		if x.reserve, err = handover.NewReserve(); err != nil {
			return os.NewSyscallError("memfd_create", err)
		}
	}
	trial := new(handover.State)
	copies, err := p.image().Trial.Keep(trial)
	for _, fd := range copies {
		x.all = append(x.all, sys.NewFD(fd))
	}
	switch {
	case err == nil:
		x.trial = trial
	case err != handover.ErrNotOnTrial:
		return os.NewSyscallError("fcntl", err)
	}
	if readyTimeout <= 0 {
		return nil
	}
	// Also in a version on trial: it may become ready before the exec.
	if x.image, x.original, err = p.running.openImage(); err != nil {
		return &os.PathError{Op: openForRollback, Path: selfExe, Err: err}
	}
	x.all = append(x.all, x.image)
	if x.directory, err = openPathOnly("."); err != nil {
		return &os.PathError{Op: openForRollback, Path: ".", Err: err}
	}
	x.all = append(x.all, x.directory)
	return nil
}

const openForRollback = "restart with ReadyTimeout: open"

// file returns what is executed.
func (x *prepared) file(c *candidate.Candidate) *os.File {
	if x.copied != nil {
		return x.copied
	}
	return c.File.(*os.File)
}

// logMissing logs which of the features that r asks for this system does not have.
func (p *process) logMissing(r *Restarter) {
	logger := report.To(r.Logger)
	if r.readyTimeout() > 0 {
		fd, _, err := p.running.openImage()
		switch {
		case err == nil:
			fd.Close()
		case errors.Is(err, errors.ErrUnsupported):
			logger.Error("new versions will be rejected: none can be rolled back; mount /proc, or leave ReadyTimeout and Overlap out",
				"path", p.launch.path, "reason", p.running.whyByPath())
		}
	}
	if reason := p.running.whyByPath(); r.Verify != nil && reason != nil {
		logger.Warn("a version that Verify accepts is executed by its path, where another file may be by then",
			"path", p.launch.path, "reason", reason)
	}
}

func (x *prepared) close() {
	if x.copied != nil {
		x.copied.Close()
	}
	if x.reserve != nil {
		x.reserve.Close()
	}
	for _, fd := range x.all {
		fd.Close()
	}
}

// addRollback adds to h what a rollback of the next version needs, until release is called.
// A version that is itself on trial has not shown that it works: the next one rolls back to
// its predecessor.
func (x *prepared) addRollback(h *handover.State, c *candidate.Candidate, r *Restarter) (release func()) {
	readyTimeout := r.readyTimeout()
	release = func() {}
	args, env := x.process.launch.args, os.Environ() // of what it is rolled back to
	switch trial := x.process.image().Trial; {
	case x.trial != nil && trial.On():
		h.KeepTrial(x.trial)
		args, env = trial.PreviousStart()
	case readyTimeout > 0:
		directory := x.directory
		// The program may have changed it since.
		if now, err := openPathOnly("."); err == nil {
			directory, release = now, func() { now.Close() }
		}
		h.Set(handover.Connections, 2)
		h.Set(handover.Previous, x.image.Int())
		h.Set(handover.Dir, directory.Int())
		h.Texts[handover.Original] = x.original
	}
	h.Texts[handover.PreviousArgs], h.Texts[handover.PreviousEnv] = "", ""
	if h.Number(handover.Previous) != 0 && handover.KnowsCarrier(c.Build.LibraryVersion) { // others have no use for them
		if !slices.Equal(args, x.arguments()) {
			h.Texts[handover.PreviousArgs] = handover.FormatList(args)
		}
		if !slices.Equal(env, x.environment()) {
			h.Texts[handover.PreviousEnv] = handover.FormatList(env)
		}
	}
	if readyTimeout > 0 {
		h.Set(handover.ReadyWithin, milliseconds(readyTimeout))
		h.Numbers[handover.HealthWithin] = nil
		if r.HealthTimeout > 0 {
			h.Set(handover.HealthWithin, milliseconds(r.HealthTimeout))
		}
	}
	return release
}

// receiversKnow reports whether c knows all kinds of connections. What a rollback of c would
// execute has to know them, too: it may get them back.
func (x *prepared) receiversKnow(c *candidate.Candidate) bool {
	return handover.KnowsConnections(c.Build.LibraryVersion) && (x.trial == nil || x.trial.Number(handover.Connections) != 0)
}

// milliseconds returns a ReadyTimeout or HealthTimeout as it crosses the exec: from 1 ms to 12
// days.
func milliseconds(timeout time.Duration) int {
	return int(min(max(1, timeout.Milliseconds()), 1<<30))
}

// checkRollback returns nil if c can be rolled back.
func (p *process) checkRollback(rules *candidate.Rules, c *candidate.Candidate) error {
	switch {
	case handover.Elevated():
		return &RejectedError{
			Path:     c.Path,
			Found:    "a set-user-ID or set-group-ID program, which can't be rolled back",
			Expected: "no ReadyTimeout and no Overlap",
		}
	case !handover.CanRollBack:
		return &os.PathError{Op: "restart with ReadyTimeout", Path: c.Path, Err: errors.ErrUnsupported}
	case c.Build.WithoutLibrary:
		return &RejectedError{
			Path:     c.Path,
			Found:    "a program without " + modulePath,
			Expected: "a program that contains it: no other can become ready or be rolled back",
		}
	case rules.RunningChanged() && p.running.savedImage() == nil:
		return &RejectedError{
			Path:     c.Path,
			Found:    "a running image that can't be rolled back to: its file has another content by now",
			Expected: "no ReadyTimeout and no Overlap, or a file system that keeps replaced files",
		}
	}
	return nil
}

// execMu has one exec at a time: each changes, for its moment, what the whole process
// shares.
var execMu sync.Mutex

// execve executes target. h is nil if nothing is handed over.
//
// What needs care beside what [handover.Execute] does: what belongs to the calling thread,
// see [execve.AsLeader]; the signals that the program has subscribed to, see signalSet.handOver; the
// inotify descriptors, which cross on purpose, see eventSet; and a fork in another
// goroutine, which must not inherit them.
func (p *process) execve(target handover.Target, args, env []string, h *handover.State) error {
	runtime.LockOSThread() // it is the one that LosesScheduling tells of
	defer runtime.UnlockOSThread()
	if execve.LosesScheduling() {
		report.Warn("the new version loses the scheduling of the main thread: a seccomp filter forbids to set it; allow sched_setattr, sched_setaffinity and ioprio_set", "path", p.launch.path)
	}
	if lines, events := report.Flush(p.image().LogTime); h != nil {
		if lines > 0 {
			h.Set(handover.Lines, lines)
		}
		if text := h.Texts[handover.Observed]; text != "" {
			before := text[:strings.LastIndexByte(text, ' ')+1] // in a rollback the number of the previous image follows
			h.Texts[handover.Observed] = before + strconv.Itoa(events)
		}
	}
	execMu.Lock()
	defer execMu.Unlock()
	return execve.AsLeader(func() error { return p.execveOnThread(target, args, env, h) })
}

func (p *process) execveOnThread(target handover.Target, args, env []string, h *handover.State) error {
	// Forks wait for readers of ForkLock: no child inherits what is about to cross.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if h != nil {
		h.Numbers[handover.Inotify], h.Numbers[handover.Watch] = p.events.beginHandover()
		defer p.events.cancelHandover()
		if fd := p.image().StatusPage.Load(); fd != 0 {
			h.Set(handover.Status, int(fd))
		}
		defer p.signals.handOver(h)()
	}
	candidate.LeaseMu.Lock()
	defer candidate.LeaseMu.Unlock()
	var rejected error
	if look := target.LastLook; look != nil {
		target.LastLook = func() error {
			rejected = look()
			return rejected
		}
	}
	err := handover.Execute(target, args, env, h)
	if rejected != nil {
		return rejected
	}
	return &os.PathError{Op: "execve", Path: target.Path, Err: err}
}
