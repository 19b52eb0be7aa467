//go:build !autorestart_portable

package standin

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// withoutRoom calls f while no descriptor can be opened.
func withoutRoom(t *testing.T, f func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// A table of descriptors that is full at the moment says nothing about the system.
func TestSupported(t *testing.T) {
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	var err error
	withoutRoom(t, func() { err = Supported() })
	if err != nil {
		t.Errorf("without descriptors: %v", err)
	}
}

// fork starts a child as spawn does, without a stand-in.
func fork(t *testing.T, path string, args ...string) (pid int, pidfd *sys.FD) {
	t.Helper()
	fd := -1
	pid, err := syscall.ForkExec(path, append([]string{path}, args...), &syscall.ProcAttr{
		Env: os.Environ(), Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &fd},
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid, sys.NewFD(fd)
}

// wantReaped checks that no child has the PID any more.
func wantReaped(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != unix.ECHILD {
		t.Errorf("process %d is a child: %v", pid, err)
	}
}

// The runtime's poller may not take a pidfd, as where fs.epoll.max_user_watches is reached. The end
// of the child is noticed all the same.
func TestChildWithoutPoller(t *testing.T) {
	sleep := path(t, "sleep")
	pid, pidfd := fork(t, sleep, "1000")
	defer pidfd.Close()
	file, err := os.Open("/dev/null") // which no poller takes
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpollable, err := sys.DuplicateFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newChild(pid, unpollable)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.done():
		t.Error("it has ended, by mistake")
	case <-time.After(50 * time.Millisecond):
	}
	c.killGroup()
	testprocess.Receive(t, "end of the child", c.done())
	wantReaped(t, pid)
	if how, killed := c.how(); !killed {
		t.Error(how)
	}
	c.close()
}

// path returns the path of a tool.
func path(t *testing.T, tool string) string {
	t.Helper()
	testprocess.NeedTool(t, tool)
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// What every child would inherit is closed in a stand-in, as far as /proc tells.
func TestHighestInheritable(t *testing.T) {
	const number = 300
	if err := unix.Dup2(openFile(t), number); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(number)
	if highest := highestInheritable(); highest != number {
		t.Errorf("it is %d, want %d", highest, number)
	}
	unix.CloseOnExec(number)
	if highest := highestInheritable(); highest >= number {
		t.Errorf("it is %d, where %d is close-on-exec", highest, number)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "without-proc"))
	if out, err := cmd.Output(); err != nil || len(out) > 0 && string(out) != "2" {
		t.Errorf("without /proc it is %s, %v", out, err)
	}
}

// without-proc hides /proc from itself.
var _ = testprocess.RegisterHelper("without-proc", func() {
	if forcefallback.NoProc() == nil {
		fmt.Print(highestInheritable())
	}
})

// start-and-end starts a stand-in that never watches it, and ends.
var _ = testprocess.RegisterHelper("start-and-end", func() {
	h := new(handover.State)
	h.Set(handover.PID, os.Getpid())
	x := must(Inherit(newImage()).Start(handover.Target{Path: os.Args[1]}, []string{os.Args[1], "1000"}, nil, h))
	fmt.Print(x.process.pid())
})

// A stand-in that has not begun to watch its main process is killed when that ends.
func TestMainEndsAtStart(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", path(t, "sleep"))
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "start-and-end"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strconv.Atoi(string(out)); err != nil {
		t.Fatal(err)
	}
	testprocess.WaitFor(t, "end of the stand-in", func() bool {
		stat, err := os.ReadFile("/proc/" + string(out) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ") || !strings.Contains(string(stat), "(sleep)")
	})
}
