package autorestart

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// A Watcher reports new versions of an executable. A new version is a file at the path
// that is ready to be executed and differs in content from the last version. The last
// version is the one reported last, or the running image before the first report.
//
// On network file systems, FUSE and overlay, the file of the running image can be
// written, or replaced underneath. There the Watcher compares with the content that the
// file had when the program started. The first call of Next sums that content. On FUSE,
// and if the file was touched before that call, the same file with another modification
// time is a new version.
//
// The zero value watches this program's own executable. Set the fields before the first
// call of Next, and call Close after the last one.
type Watcher struct {
	// Path is the executable to watch. If one of its symbolic links changes, the links
	// are followed anew. If empty, Path is the path that this program was started by. A
	// relative Path starts from the working directory of the first call of Next. In a
	// program that may have more rights than its starter, an empty or relative Path is
	// restricted as in [Restarter].
	Path string

	// PollInterval is how often the path is looked at in addition to the events. If zero,
	// the path is looked at only after events.
	//
	// Some changes come without an event: on network file systems, without /proc, and for
	// a file that is mounted by itself. There, and on systems without events, a
	// PollInterval of zero is one second. A mount over the path is an event. A file that is
	// mounted by itself stays the same when it is replaced where it was mounted from: Logger
	// receives a warning.
	PollInterval time.Duration

	// TrustAnyOwner lifts a rule for processes with more rights than their user: those of
	// root, setuid, setgid, or with capabilities. By the rule, such a process executes no
	// version that another user has chosen.
	//
	// The rule rejects a version if the file, a directory or a symbolic link of its path
	// can be written by a user who is not root and can't write the running image. Owner,
	// mode and POSIX ACL decide. In a sticky directory only the owner of the directory
	// counts.
	//
	// Owners prove nothing
	//   - on a FUSE file system that another user has mounted, unless the running image
	//     is on that mount, too
	//   - for a file on a mount with nosuid, where execve(2) itself ignores them, unless
	//     the running image is on that mount, too
	//   - if the user namespace of the process does not know them.
	//
	// A version that is rejected for its path or its mount is looked at again every 15
	// seconds. On systems other than Linux, owners and modes decide, because ACLs and
	// mounts are not known.
	TrustAnyOwner bool

	// Logger receives the reasons why a file at the path is not reported, and changes of
	// the mode. If nil, the Watcher is silent.
	Logger Logger

	inner atomic.Pointer[watch.Watcher] // nil before the first call of Next
}

// A Change is a new version of an executable.
type Change struct {
	Path     string    // absolute
	Size     int64     // bytes
	Seen     time.Time // when it was found ready
	Old, New BuildInfo // of the previous version, if its file is still there, and of this one
}

// Next waits for the next new version and returns it. If there is one already that has
// not been reported, Next returns at once. A file that can't be executed is passed over,
// and Logger receives the reason. Without events Next polls, see Mode.
//
// Next fails only
//   - when ctx ends, with its cause
//   - when Path is empty and the path of the program is not known
//   - when Path is relative, and the working directory is not known or a starter with
//     fewer rights may have chosen it.
//
// In a stand-in, see [StandIn], Next only waits for the end of ctx. Two goroutines must not
// call Next at the same time.
func (w *Watcher) Next(ctx context.Context) (Change, error) {
	if StandIn() {
		<-ctx.Done()
		return Change{}, context.Cause(ctx)
	}
	inner := w.inner.Load()
	if inner == nil {
		var err error
		if inner, err = self().newWatcher(w.Path, w.PollInterval, w.TrustAnyOwner, w.Logger, func(error, candidate.ID) {}); err != nil {
			return Change{}, err
		}
		w.inner.Store(inner)
	}
	c, err := inner.Next(ctx)
	if err != nil {
		flushLog()
		return Change{}, err
	}
	change := Change{
		Path: c.Path,
		Size: c.ID.Size,
		Seen: time.Now(),
		Old:  buildInfo(inner.Base().Build()),
		New:  buildInfo(elfimage.ReadBuild(c.File, c.ID.Size)),
	}
	inner.Accepted()
	return change, nil
}

// Mode returns how changes are noticed at the moment. Before the first call of Next, it
// returns the zero value. Any goroutine may call Mode.
func (w *Watcher) Mode() WatchMode { return watchModeOf(&w.inner) }

// Close frees what the Watcher holds. Before calling Close, end the context of a running
// Next, and wait until Next has returned.
func (w *Watcher) Close() error {
	defer flushLog()
	if inner := w.inner.Load(); inner != nil {
		return inner.Close()
	}
	return nil
}

// A WatchMode describes how a [Watcher] or [Restarter.Run] notices changes.
type WatchMode struct {
	Events bool          // the kernel reports changes, see inotify(7)
	Poll   time.Duration // how often the path is looked at; 0 if only after events
	Reason error         // why events alone are not enough; nil if they are
}

func (m WatchMode) String() string { return watch.Mode(m).String() }

func watchModeOf(w *atomic.Pointer[watch.Watcher]) WatchMode {
	if w := w.Load(); w != nil {
		return WatchMode(w.Mode())
	}
	return WatchMode{}
}

// A RejectedError says why a file at the path is not executed. The running image goes on
// running. docs/troubleshooting.md, in the repository, has a table of the reasons.
type RejectedError struct {
	Path     string
	Found    string // what the file is
	Expected string // what an acceptable file is

	// Retryable means that the file may become acceptable as it is, because it is still
	// being written or its mode is still being set. The file is looked at again soon.
	//
	// A file that is not Retryable is left alone until it changes. If the reason is a
	// directory, a symbolic link or the mount, the file is looked at again after 15
	// seconds.
	Retryable bool

	Err error // the underlying error; nil if there is none
}

func (e *RejectedError) Error() string {
	path := ""
	if e.Path != "" {
		path = e.Path + ": "
	}
	return "autorestart: " + path + "found " + e.Found + ", expected " + e.Expected
}

func (e *RejectedError) Unwrap() error { return e.Err }

// asError returns a rejection as a [*RejectedError], and nil as nil.
func asError(r *candidate.Rejection) error {
	if r == nil {
		return nil
	}
	return &RejectedError{Path: r.Path, Found: r.Found, Expected: r.Expected, Retryable: r.Retryable, Err: r.Err}
}

// verifyError returns an error of Verify as a [*RejectedError], and nil as nil.
func verifyError(path string, err error) error {
	if err == nil {
		return nil
	}
	if rejected, ok := errors.AsType[*RejectedError](err); ok {
		at := *rejected // the error may be the caller's
		at.Path = path
		return &at
	}
	return &RejectedError{
		Path:      path,
		Found:     "a version that Verify has rejected (" + err.Error() + ")",
		Expected:  "a version that Verify accepts",
		Retryable: isShortage(err), // of what Verify needs, and not of the version
		Err:       err,
	}
}

// isRetryable reports whether err says that a file may be accepted soon as it is.
func isRetryable(err error) bool {
	rejected, ok := errors.AsType[*RejectedError](err)
	return ok && rejected.Retryable
}

// execTransient reports whether an exec that failed so may succeed soon, with nothing
// changed: the file is open for writing, memory, processes or space are short, the file is
// missing for a moment, the environment is too large, no thread is like the main one.
func execTransient(err error) bool {
	return isShortage(err) || errors.Is(err, execve.ErrNoThread) || isAny(err, syscall.ETXTBSY, syscall.ENOENT, syscall.E2BIG)
}

// isShortage reports whether err says that descriptors, memory, processes or space are
// short for now.
func isShortage(err error) bool {
	return isAny(err, syscall.EAGAIN, syscall.ENOMEM, syscall.ENFILE, syscall.EMFILE,
		syscall.ENOBUFS, syscall.ENOSPC, syscall.EDQUOT)
}

func isAny(err error, errnos ...syscall.Errno) bool {
	return slices.ContainsFunc(errnos, func(errno syscall.Errno) bool { return errors.Is(err, errno) })
}

// rejectionLogger passes log lines of package watch on, with the errors of this
// package in them, and has the errors observed: they say why a version is rejected.
type rejectionLogger struct {
	Logger
	rejected func(err error, id candidate.ID) // of the file; zero if it is not known
}

func (l rejectionLogger) Warn(msg string, args ...any) {
	last := &args[len(args)-1]
	var id candidate.ID
	if r, ok := (*last).(*candidate.Rejection); ok {
		*last, id = asError(r), r.ID
	}
	if err, ok := (*last).(error); ok {
		l.rejected(err, id)
	}
	l.Logger.Warn(msg, args...)
}

// modulePath is that of this library.
const modulePath = elfimage.Library

// A BuildInfo describes how a Go program was built, as far as the file says. All fields are
// empty for other programs, and for files without ELF sections. For Go programs built
// before Go 1.18 only the ID is known.
type BuildInfo struct {
	ID      string // the Go build ID, which differs between any two builds
	Module  string // the path of the main module
	Version string // its version; "(devel)" if the go command didn't know it
}

func buildInfo(b elfimage.Build) BuildInfo {
	return BuildInfo{ID: b.ID, Module: b.Module, Version: b.Version}
}

// readBuild reads how c was built. A version that could not be read counts as one without
// this library, or without an older one, only if that lasts.
func readBuild(c *candidate.Candidate) error {
	r := &errorReader{ReaderAt: c.File}
	c.Build = elfimage.ReadBuild(r, c.ID.Size)
	if execTransient(r.err) {
		return asError(candidate.Unreadable(c.Path, r.err))
	}
	return nil
}

// An errorReader keeps the last error.
type errorReader struct {
	io.ReaderAt
	err error
}

func (r *errorReader) ReadAt(b []byte, off int64) (n int, err error) {
	if n, err = r.ReaderAt.ReadAt(b, off); err != nil {
		r.err = err
	}
	return n, err
}

// String returns the version. If the version is empty or "(devel)", String returns the
// last part of the ID, or "unknown" without an ID. If the version has changes that were
// not committed, String appends the last part of the ID: "v1.2.3+dirty.ID".
func (b BuildInfo) String() string {
	switch {
	case b.ID != "" && strings.HasSuffix(b.Version, "dirty"):
		return b.withID()
	case b.Version != "" && b.Version != "(devel)":
		return b.Version
	case b.ID != "":
		return b.shortID()
	default:
		return "unknown"
	}
}

func (b BuildInfo) shortID() string { return b.ID[strings.LastIndexByte(b.ID, '/')+1:] }

// withID returns the version with the ID where https://semver.org has build metadata.
func (b BuildInfo) withID() string {
	switch {
	case b.ID == "":
		return b.Version
	case strings.Contains(b.Version, "+"):
		return b.Version + "." + b.shortID()
	default:
		return b.Version + "+" + b.shortID()
	}
}

// names returns the names of two builds, which differ if it can be told that they are two.
func names(from, to BuildInfo) (string, string) {
	if from.String() == to.String() && from.ID != to.ID {
		return from.withID(), to.withID()
	}
	return from.String(), to.String()
}

// versions are those that the watcher of a Run finds, and the answers to them.
type versions struct {
	watcher   *watch.Watcher
	observer  observer
	postponed candidate.ID
	backoff   watch.Backoff
	kept      *candidate.Candidate // for which the program is drained; nil if there is none
}

// answer answers that the restart into the last version, or into the one that is kept if there is
// no later one, has failed.
func (v *versions) answer(err error) {
	w, c := v.watcher, v.watcher.Current()
	if c == nil {
		c, v.kept = v.kept, nil
		if !w.Withdraw(c) {
			w.Logger.Warn("new version rejected", "reason", err)
			v.observer.answered(err)
			return
		}
	}
	switch failed, drained := err.(*drainedError); {
	case drained:
		if c.ID != v.postponed {
			v.postponed = c.ID
			v.backoff.Reset()
		}
		w.Postpone(failed.error, v.backoff.Next())
	case isRetryable(err):
		w.LookAgain(err)
	default:
		w.Rejected(err)
	}
	v.observer.answered(err)
}

// keep has the last version be the one to differ from. Its file stays open until the next call.
func (v *versions) keep() {
	v.closeKept()
	v.kept = v.watcher.Keep()
}

func (v *versions) closeKept() {
	if v.kept != nil {
		v.kept.Close()
		v.kept = nil
	}
}
