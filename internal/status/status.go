// Package status keeps the status page of an image: what `autorestart ps`, `deploy` and `reload` read. The page is
// made when a Restarter first runs, or a systemd.Service starts. It crosses each exec by [handover.Status].
//
// Nothing is spent on a page that no process reads, except for a write at each step of a restart.
package status

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// status is the value of Image.Status.
type status struct {
	once    sync.Once
	tracker *statuspage.Tracker
	err     error
}

// About describes the image that the status is about.
type About struct {
	Version string       // of the program
	Started time.Time    // when the image was initialised
	File    candidate.ID // that it was executed from; zero if the caller does not know
}

// Of returns the status of an image. The first call makes it, and its About counts. There is none on systems
// without memfds, in a stand-in, and where there is no descriptor left for the page.
func Of(i *image.Image, about About) (*statuspage.Tracker, error) {
	i.Status.CompareAndSwap(nil, new(status))
	s := i.Status.Load().(*status)
	s.once.Do(func() {
		s.tracker, s.err = begin(i, about)
		if s.err != nil && s.err != errStandIn && !errors.Is(s.err, errors.ErrUnsupported) {
			report.Warn("cannot create a status page: autorestart ps, deploy and reload don't see what this process does", "reason", s.err)
		}
	})
	return s.tracker, s.err
}

var (
	errStandIn  = errors.New("a stand-in has no status page of its own")
	errFiltered = errors.New("a seccomp filter ends the process at memfd_create(2)")
)

func begin(i *image.Image, about About) (*statuspage.Tracker, error) {
	if i.Inherited.IsStandIn {
		return nil, errStandIn
	}
	page, err := open(i)
	if err != nil {
		return nil, err
	}
	inherited := i.Inherited
	start := statuspage.Start{
		PID: os.Getpid(), Generation: inherited.Number(handover.Generation), OnTrial: i.Trial.On,
		Version: about.Version, Started: about.Started, File: fileOf(about, inherited),
	}
	if failed := inherited.Texts[handover.Failed]; failed != "" {
		start.RolledBack, start.FailedFile = errors.New(inherited.Texts[handover.Reason]), candidate.MarkIn(failed)
	}
	tracker := statuspage.Track(page, start)
	i.OnStep(func(kind step.Kind, err error) {
		// A version that is rejected while one is about to be executed is another one.
		if kind != step.Rejected || !i.IsReplaced() {
			tracker.Step(kind, err)
		}
	})
	limit := time.Until(about.Started.Add(i.ReadyWithin() + time.Second)) // a rollback comes first
	time.AfterFunc(limit, func() {                                        // the version may never call Ready
		if !i.IsReplaced() {
			tracker.Ready()
		}
	})
	return tracker, nil
}

// open returns the page of the previous image, or a new one, which crosses each exec. A rollback may begin meanwhile:
// the page of the previous image keeps its descriptor.
func open(i *image.Image) (page *statuspage.Page, err error) {
	if fd := i.StatusPage.Load(); fd != 0 {
		f := sys.NewFD(int(fd)).File("status page")
		if page, err = statuspage.Adopt(f); err != nil {
			i.StatusPage.Store(0)
			f.Close()
			report.Warn("a reload or deploy that is under way has no outcome: cannot use the status page of the previous version", "reason", err)
		}
	}
	if page == nil {
		if execve.ForbidsMemfd() { // the daemon runs without a page, at least until its first restart
			return nil, errFiltered
		}
		if page, err = statuspage.Create(); err != nil {
			return nil, err
		}
	}
	i.StatusPage.Store(int32(page.File().Fd()))
	return page, nil
}

// fileOf returns the mark of the file that this image was executed from.
func fileOf(about About, inherited *handover.State) string {
	if about.File != (candidate.ID{}) {
		return about.File.Mark()
	}
	if told := inherited.Texts[handover.Image]; told != "" { // by the previous image
		return candidate.MarkIn(told)
	}
	st, err := sys.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	return candidate.ID(st).Mark()
}
