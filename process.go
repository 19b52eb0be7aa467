package autorestart

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/files"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/health"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/origin"
	"github.com/autorestart-go/autorestart/internal/reap"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// process is one image of the process: how it was started, what it inherited, and what
// it asks of the system.
type process struct {
	img       unsafe.Pointer // see image
	inherited *handover.State
	launch    launch
	execute   handover.Executor // replaces the image
	files     *files.View       // for candidates
	running   runningImage
	events    *eventSet
	signals   signalSet
	started   time.Time
	rollback  *handover.Reserve // for a rollback of this version; nil if it is not on trial
	children  *reap.Snapshot    // of the previous image
	ready     atomic.Int64      // when Ready was called first, in nanoseconds since 1970; 0 before
	isReady   chan struct{}     // closed then
	readying  sync.Once
	health    *health.Checks
	outcome   outcome

	// restarting is held from Verify to the exec, so that of two restarts asked for at
	// once the second finds out whether the first has failed.
	restarting chan struct{}

	inBackground sync.Once // the restart that handlers have asked for

	takeoverLogged atomic.Bool

	beside beside
}

// beside is what this process does for the other one that serves beside it.
type beside struct {
	once sync.Once
	set  atomic.Pointer[besideSet] // nil before standIns; it is an interface so that a program without Overlap does not contain it

	joining sync.Once
	child   interface{ Ready() } // of a stand-in; nil before joinMain
}

type besideSet interface {
	Pause() (resume func())
	HandOver(h *handover.State)
	Takeover()
}

// pause is called before anything is locked for an exec. What stand-ins send is left to the next
// image, until resume is called because the exec has failed.
func (b *beside) pause() (resume func()) {
	if set := b.set.Load(); set != nil {
		return (*set).Pause()
	}
	return func() {}
}

// handOver adds the stand-ins to h.
func (b *beside) handOver(inherited, h *handover.State) {
	if set := b.set.Load(); set != nil {
		(*set).HandOver(h)
		return
	}
	for _, kind := range [...]handover.NumberKind{handover.StandInPID, handover.StandIns, handover.Beside} {
		h.Numbers[kind] = inherited.Numbers[kind]
	}
	h.Texts[handover.StandIn] = inherited.Texts[handover.StandIn]
}

// takeOver is called when the time is up in which this image was to become ready.
func (b *beside) takeOver(i *image.Image) {
	if set := b.set.Load(); set != nil {
		(*set).Takeover()
	} else {
		i.Drainers.Release()
	}
}

// launch is how an image was started.
type launch struct {
	path string       // absolute, symbolic links kept; "" if it can't be told
	args []string     // all, the name of the program included
	id   candidate.ID // the file that the image was executed from; zero if it can't be told
}

// The process of this image is taken at package initialisation, before main can change the
// directory or os.Args, or start children.
func init() {
	image.Root.Make(func(i *image.Image) unsafe.Pointer { return unsafe.Pointer(startProcess(i)) })
}

// self returns the process that the public functions act on.
func self() *process { return (*process)(image.Root.Of(image.Current())) }

// image returns what the process shares with package sockets. The field is of another type for the
// reason for which [image.Part] is.
func (p *process) image() *image.Image { return (*image.Image)(p.img) }

func startProcess(i *image.Image) *process {
	inherited := i.Inherited
	path := launchPath(inherited)
	files := newView(path, inherited)
	p := &process{
		img:       unsafe.Pointer(i),
		inherited: inherited,
		launch:    launch{path: path, args: origin.Args, id: files.LaunchID},
		files:     files,
		running:   runningImage{files: files},
		signals:   signalSet{inherited: inherited.Numbers[handover.Signal]},
		events:    newEvents(inherited.Numbers[handover.Inotify], inherited.Numbers[handover.Watch]),
		started:   time.Now(),
		isReady:   make(chan struct{}),
		health:    health.New(&i.Drainers),

		restarting: make(chan struct{}, 1),
	}
	p.execute = i.Execute
	if p.execute == nil {
		p.execute = p.execve
	}
	p.children = reap.TakeSnapshot(new(childTable), p.restarted(), inherited.Numbers[handover.StandInPID]...)
	if p.isStandIn() || inherited.Number(handover.Beside) != 0 {
		i.Drainers.Hold() // until this image serves in place of the other process
		i.Beside.SetServes(true)
	}
	p.logInherited()
	switch {
	case i.Trial.On():
		// An error may pass until a rollback.
		p.rollback, _ = handover.NewReserve()
	case p.restarted():
		i.Store.StartTimer(func() {
			p.beside.takeOver(i)
			p.dropUnclaimed()
		})
	}
	i.Trial.OnRollback(p.executePrevious) // last: it may be called at once
	return p
}

// logInherited logs what was lost on the way to this image.
func (p *process) logInherited() {
	if handover.Ignored != "" {
		report.Warn("ignored the handover in the environment: this version starts afresh", "path", p.launch.path, "reason", handover.Ignored)
	}
	if n := p.inherited.Number(handover.Missing); n > 0 {
		report.Warn("passed files and states are missing: the previous version could not create a file to list them; allow memfd_create, or make TMPDIR writable",
			"missing", n)
	}
	if n := p.inherited.Number(handover.Closed); n > 0 {
		report.Warn("idle connections ended with the restart: the previous version could not create a file to list them; allow memfd_create, or make TMPDIR writable",
			"connections", n)
	}
	if n := p.inherited.Number(handover.Lines); n > 0 {
		report.Warn("log lines lost at the restart: the logger of the previous version was too slow", "lines", n)
	}
	if reason := p.inherited.Texts[handover.Reason]; p.inherited.Texts[handover.Failed] != "" {
		report.Warn("the new version was executed and rolled back: this one runs again", "path", p.launch.path, "reason", reason)
	}
}

// restarted reports whether an image of this library came before this one.
func (p *process) restarted() bool { return p.inherited.Number(handover.PID) != 0 }

// dropUnclaimed drops what this image has inherited and not claimed.
func (p *process) dropUnclaimed() {
	p.image().Store.CloseUnclaimed()
	p.signals.restoreDefaults()
}

// Generation returns the number of this image. In a program that was started afresh it is
// 0. Each exec in which an image hands over to the next adds one. A rollback is such an
// exec, so no two images have the same number: a version that runs again after a rollback
// has a higher number than before. [RollbackError] has the number of the version that
// failed.
//
// A version without this library takes nothing over, and a setuid or setgid program hands
// nothing over. The next version begins at 0 again.
func Generation() int { return self().inherited.Number(handover.Generation) }

// RestartTimes has the times, by the system's clock, at which the restart that began this
// image reached each step. A step that was skipped has the time of the previous step. A
// rollback skips Judged. If the version that failed hung before its main, the rollback
// skips Quiesced and Drained, too.
type RestartTimes struct {
	Seen     time.Time // a new file was noticed, or Restart was called; in a rollback, when its reason occurred
	Judged   time.Time // the file was found complete and executable, and Verify had accepted it
	Quiesced time.Time // no new work was accepted any more, by no drainer
	Drained  time.Time // all accepted work was done, or the DrainTimeout was over
	Executed time.Time // right before execve(2), after everything else
	Started  time.Time // this package was initialised
	Ready    time.Time // Ready was called; zero before
}

// LastRestart returns the times of the restart or rollback that began this image. In a
// program that was started afresh, the times before Started are zero.
func LastRestart() RestartTimes { return self().restartTimes() }

func (p *process) restartTimes() RestartTimes {
	t := parseTimes(p.inherited.Texts[handover.Times])
	t.Started = p.started
	if ns := p.ready.Load(); ns != 0 {
		t.Ready = time.Unix(0, ns)
	}
	return t
}

// parseTimes returns the times that the previous image tells this one.
func parseTimes(text string) (t RestartTimes) {
	fields := strings.Split(text, "/")
	for i, at := range [...]*time.Time{&t.Seen, &t.Judged, &t.Quiesced, &t.Drained, &t.Executed} {
		if i < len(fields) {
			if ns, err := strconv.ParseInt(fields[i], 10, 64); err == nil {
				*at = time.Unix(0, ns)
			}
		}
	}
	return t
}

// format returns what parseTimes parses, without Executed.
func (t *RestartTimes) format() string {
	return handover.FormatTimes(t.Seen, t.Judged, t.Quiesced, t.Drained)
}

// newRules returns rules that compare candidates at the path with the running image. Where
// it can't be told which that is, it is the file at the path. The caller closes the rules.
func (p *process) newRules(path string, trustAnyOwner bool) *candidate.Rules {
	rules := candidate.NewRules(p.files, cmp.Or(p.launch.path, path))
	rules.TrustAnyOwner = trustAnyOwner
	return rules
}

// newWatcher returns what a [Watcher] and a [Restarter] with such fields watch by. The
// caller closes it.
func (p *process) newWatcher(path string, interval time.Duration, trustAnyOwner bool, logger Logger, rejected func(error, candidate.ID)) (*watch.Watcher, error) {
	execve.RememberLeader()
	logger = report.To(logger)
	if path == "" && handover.Secure {
		logger.Info("watching this file, and no symbolic link to it: the starter of this program may have fewer rights; set Path to follow a link",
			"path", p.launch.path)
	}
	path, err := p.executablePath(path)
	if err != nil {
		return nil, err
	}
	if p.files.KeepsReplaced(path) {
		logger.Warn("a version that is renamed over the executable will not be noticed: the file is mounted by itself; mount its directory instead", "path", path)
	}
	rules := p.newRules(path, trustAnyOwner)
	rules.SumRunning()
	return &watch.Watcher{
		Path:         path,
		PollInterval: interval,
		Rules:        rules,
		Events:       p.events,
		Logger:       rejectionLogger{logger, rejected},
	}, nil
}

// failedVersion returns the version that was rolled back to this one, if there is one.
func (p *process) failedVersion() candidate.Failed {
	return candidate.Failed{Mark: p.inherited.Texts[handover.Failed], Reason: p.inherited.Texts[handover.Reason]}
}

// errNoPath is returned by a program without a file name, as one that was executed
// from a memfd.
var errNoPath = errors.New("autorestart: cannot tell the path of this program's executable; set Path")

// errNoDirectory is returned for a relative path in a working directory that was
// removed.
var errNoDirectory = errors.New("autorestart: cannot tell the working directory; set Path to an absolute one")

// errForeignDirectory is returned for a relative path in a process whose starter may have
// fewer rights.
var errForeignDirectory = errors.New("autorestart: the working directory may be that of a starter with fewer rights; set Path to an absolute one")

// executablePath returns path, made absolute, or the launch path if path is empty.
func (p *process) executablePath(path string) (string, error) {
	if path == "" {
		if p.launch.path == "" {
			return "", errNoPath
		}
		return p.launch.path, nil
	}
	path = strings.Clone(path) // an argument of the program may be overwritten by a title
	switch abs := absolute(path); {
	case abs == "":
		return "", errNoDirectory
	case abs != path && handover.Tainted():
		return "", errForeignDirectory
	default:
		return abs, nil
	}
}

// absolute makes path absolute without cleaning it: in "link/../app" the dots belong
// to what the link leads to. It returns "" without a working directory.
func absolute(path string) string { return absoluteIn(syscall.Getwd, path) }

// absoluteLogical is absolute for the path that the program was started by: by the symbolic
// links that the shell has come by. Later they may lead elsewhere, so only the first image
// asks, and hands the path over.
func absoluteLogical(path string) string { return absoluteIn(logicalDirectory, path) }

// logicalDirectory returns $PWD if that is the working directory, as [os.Getwd] does, which
// knows more ways and is five times the size.
func logicalDirectory() (string, error) {
	if dir, _ := syscall.Getenv("PWD"); filepath.IsAbs(dir) {
		named, err := sys.Stat(dir)
		here, hereErr := sys.Stat(".")
		if err == nil && hereErr == nil && here.Ino != 0 && named.Dev == here.Dev && named.Ino == here.Ino {
			return dir, nil
		}
	}
	return syscall.Getwd()
}

func absoluteIn(getwd func() (string, error), path string) string {
	if path == "" || os.IsPathSeparator(path[0]) || filepath.IsAbs(path) {
		return path
	}
	dir, err := getwd()
	if err != nil {
		return ""
	}
	for len(path) > 1 && path[0] == '.' && os.IsPathSeparator(path[1]) {
		path = path[2:]
	}
	if os.IsPathSeparator(dir[len(dir)-1]) {
		return dir + path
	}
	return dir + string(os.PathSeparator) + path
}
