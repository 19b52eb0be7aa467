//go:build !autorestart_portable

package status

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// newImage returns an image that a previous one has executed.
func newImage(change func(h *handover.State)) *image.Image {
	h := new(handover.State)
	h.Set(handover.PID, os.Getpid())
	change(h)
	return image.Start(h, nil)
}

func of(t *testing.T, i *image.Image) statuspage.Status {
	t.Helper()
	tracker, err := Of(i, About{Version: "v1", Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := tracker.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestImageHasOneStatus(t *testing.T) {
	i := newImage(func(*handover.State) {})
	first, err := Of(i, About{Version: "v1", File: candidate.ID{Dev: 1, Ino: 2, Size: 3, Mtime: 4}})
	second, _ := Of(i, About{Version: "v2"})
	if err != nil || first != second {
		t.Errorf("%p, %p, %v", first, second, err)
	}
	if s, _ := first.Status(); s.Version != "v1" || s.File != "1/2/3/4/" || s.PID != os.Getpid() {
		t.Errorf("%+v", s)
	}
}

// The page of the previous image goes on, with its last outcome.
func TestPageCrosses(t *testing.T) {
	i := newImage(func(*handover.State) {})
	of(t, i)
	i.Report(step.Rejected, &step.Rejection{Err: os.ErrInvalid, File: "5/6/7/8/"})
	next := newImage(func(h *handover.State) {
		h.Set(handover.Status, passedPage(t, i))
		h.Set(handover.Generation, 1)
		h.Texts[handover.Image] = "1/2/3/4/9/9/9/9/"
	})
	s := of(t, next)
	if s.Last.File != "5/6/7/8/" || s.Generation != 1 || s.File != "1/2/3/4/" || s.Phase != statuspage.Starting {
		t.Errorf("%+v", s)
	}
	next.Report(step.Ready, nil)
	if s := of(t, next); s.Phase != statuspage.Serving || s.Last.Kind != statuspage.Ready || s.Last.File != s.File {
		t.Errorf("%+v", s)
	}
}

// passedPage returns a descriptor of the image's page, which the next image owns.
func passedPage(t *testing.T, i *image.Image) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(i.StatusPage.Load()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// A version that panics while its Restarter begins is rolled back, with the page.
func TestPageCanCrossAtAnyTime(t *testing.T) {
	i := newImage(func(*handover.State) {})
	of(t, i)
	fd := passedPage(t, i)
	next := newImage(func(h *handover.State) { h.Set(handover.Status, fd) })
	of(t, next)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || int(next.StatusPage.Load()) != fd {
		t.Errorf("the page has got descriptor %d in place of %d, which is what a rollback may have begun to pass on (%v)", next.StatusPage.Load(), fd, err)
	}
}

// The outcome of a rollback is about the file that has failed.
func TestRollbackNamesFile(t *testing.T) {
	s := of(t, newImage(func(h *handover.State) {
		h.Texts[handover.Failed], h.Texts[handover.Reason] = "1/2/3/4/5/6/7/8/", "no good"
		h.Set(handover.Generation, 2)
	}))
	if s.Last.Kind != statuspage.RolledBack || s.Last.File != "1/2/3/4/" || s.Last.Reason != "no good" {
		t.Errorf("%+v", s)
	}
}

// A version that never calls Ready is ready when its time for that is over.
func TestReadyWithoutReady(t *testing.T) {
	i := newImage(func(h *handover.State) { h.Set(handover.ReadyWithin, 1) })
	tracker, err := Of(i, About{Started: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	testprocess.WaitFor(t, "end of the time for Ready", func() bool {
		s, _ := tracker.Status()
		return s.Phase == statuspage.Serving
	})
}

func TestStandInHasNoStatus(t *testing.T) {
	i := newImage(func(*handover.State) {})
	i.Inherited.IsStandIn = true
	if tracker, err := Of(i, About{}); err != errStandIn || tracker != nil {
		t.Errorf("%v, %v", tracker, err)
	}
}

// Without a page everything else works.
func TestNoMemfd(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "no memfd"))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, text)
	}
}

var _ = testprocess.RegisterHelper("no memfd", func() {
	if err := forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_MEMFD_CREATE, Arg: -1, Errno: unix.EMFILE}); err != nil {
		panic(err)
	}
	i := newImage(func(*handover.State) {})
	if _, err := Of(i, About{}); err == nil || i.Reports() || i.StatusPage.Load() != 0 {
		panic(err)
	}
})

// A filter that ends the process at memfd_create, as systemd's SystemCallFilter=~@ipc does, ends no process that only
// would have a page.
func TestFatalMemfd(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "fatal memfd"))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, text)
	}
}

var _ = testprocess.RegisterHelper("fatal memfd", func() {
	if err := forcefallback.KillAll(unix.SYS_MEMFD_CREATE); err != nil {
		panic(err)
	}
	i := newImage(func(*handover.State) {})
	if _, err := Of(i, About{}); err == nil || i.Reports() || i.StatusPage.Load() != 0 {
		panic(err)
	}
})
