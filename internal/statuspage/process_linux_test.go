//go:build !autorestart_portable

package statuspage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const fallbackEnv = "AUTORESTART_TEST_FALLBACK"

// fallbacks take something away from all threads of a process.
var fallbacks = map[string]func() error{
	"": func() error { return nil },
	"no inotify": func() error {
		return forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_INOTIFY_INIT1, Arg: -1, Errno: unix.ENOSYS})
	},
	"no inotify instances left": func() error {
		return forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_INOTIFY_INIT1, Arg: -1, Errno: unix.EMFILE})
	},
	"no pidfds": func() error {
		return forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_PIDFD_OPEN, Arg: -1, Errno: unix.ENOSYS})
	},
	"no locks": func() error {
		return forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_FCNTL, Arg: 1, Value: unix.F_OFD_SETLK, Errno: unix.EINVAL})
	},
	"no flag of pidfd_open": func() error {
		return forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_PIDFD_OPEN, Arg: 1, Value: unix.PIDFD_NONBLOCK, Errno: unix.EINVAL})
	},
	"no flag of memfd_create": func() error {
		return forcefallback.DenyAll(forcefallback.Denial{Call: unix.SYS_MEMFD_CREATE, Arg: 1, Value: unix.MFD_NOEXEC_SEAL, Flag: true, Errno: unix.EINVAL})
	},
}

func forceFallback() {
	if err := fallbacks[os.Getenv(fallbackEnv)](); err != nil {
		fmt.Println("skip", err)
		os.Exit(0)
	}
}

// daemon is a process that can be asked until standard input ends. It rejects each version.
var _ = testprocess.RegisterHelper("daemon", func() {
	forceFallback()
	beDaemon()
})

func beDaemon() {
	p, err := Create()
	if err != nil {
		panic(err)
	}
	tracker := Track(p, Start{PID: os.Getpid(), Version: "v1"})
	tracker.Step(step.Ready, nil)
	go tracker.Serve(context.Background(), func(context.Context) error { return errBad })
	fmt.Println("serves")
	testprocess.ReadLine()
}

// daemon without /proc is the same, which executes itself where /proc is hidden.
var _ = testprocess.RegisterHelper("daemon without /proc", func() {
	if os.Getenv(fallbackEnv) == "hidden" {
		if _, err := os.Stat("/proc/self"); err == nil {
			panic("there is a /proc")
		}
		beDaemon()
		return
	}
	runtime.LockOSThread()
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	if err := forcefallback.NoProc(); err != nil {
		fmt.Println("skip", err)
		return
	}
	os.Setenv(fallbackEnv, "hidden")
	panic(syscall.Exec(path, os.Args, os.Environ()))
})

// asker asks the process that its argument names.
var _ = testprocess.RegisterHelper("asker", func() {
	forceFallback()
	var pid int
	fmt.Sscan(os.Args[1], &pid)
	r, err := Find(pid)
	if err != nil {
		panic(err)
	}
	o, err := r.Request(context.Background())
	fmt.Println(o.Kind, o.Reason, err)
})

// A child is a helper process.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	out interface{ Read([]byte) (int, error) }
	in  interface{ Close() error }
}

func startChild(t testing.TB, helper, fallback string, change func(*exec.Cmd), args ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command("/proc/self/exe", args...)}
	c.cmd.Env = append(os.Environ(), testprocess.UseHelper(t, helper), fallbackEnv+"="+fallback)
	c.cmd.Stderr = os.Stderr
	if change != nil {
		change(c.cmd)
	}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, out
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
	return c
}

// line reads the next line that the child writes. A child that can't do without something skips the test.
func (c *child) line() string {
	c.t.Helper()
	lines := make(chan string, 1)
	go func() {
		var line []byte
		for b := make([]byte, 1); ; line = append(line, b[0]) {
			if n, err := c.out.Read(b); n == 0 || err != nil || b[0] == '\n' {
				lines <- string(line)
				return
			}
		}
	}()
	line, _ := testprocess.Receive(c.t, "line of the child", lines)
	if len(line) > 4 && line[:4] == "skip" {
		c.t.Skip(line)
	}
	return line
}

func (c *child) want(line string) {
	c.t.Helper()
	if got := c.line(); got != line {
		c.t.Fatalf("the child wrote %q, want %q", got, line)
	}
}

// Each side does without what its kernel or its sandbox lacks.
func TestRequestUnderFallbacks(t *testing.T) {
	for _, test := range []struct{ daemon, asker string }{
		{"no inotify", ""},
		{"", "no inotify"},
		{"no inotify instances left", "no inotify instances left"},
		{"", "no pidfds"},
		{"", "no flag of pidfd_open"},
		{"", "no locks"},
		{"no flag of memfd_create", ""},
	} {
		t.Run(test.daemon+"/"+test.asker, func(t *testing.T) {
			t.Parallel()
			d := startChild(t, "daemon", test.daemon, nil)
			d.want("serves")
			startChild(t, "asker", test.asker, nil, fmt.Sprint(d.cmd.Process.Pid)).want("rejected bad file <nil>")
		})
	}
	t.Run("no proc", func(t *testing.T) {
		t.Parallel()
		d := startChild(t, "daemon without /proc", "", nil)
		d.want("serves")
		startChild(t, "asker", "", nil, fmt.Sprint(d.cmd.Process.Pid)).want("rejected bad file <nil>")
	})
}

// The end of the process is noticed by a pidfd, and without one.
func TestProcessEndsDuringRequest(t *testing.T) {
	for _, fallback := range []string{"", "no pidfds"} {
		t.Run(fallback, func(t *testing.T) {
			t.Parallel()
			d := startChild(t, "deaf", "", nil)
			d.want("deaf")
			a := startChild(t, "asker", fallback, nil, fmt.Sprint(d.cmd.Process.Pid))
			d.want("asked")
			d.cmd.Process.Kill()
			d.cmd.Wait()
			a.want("  the process has ended")
		})
	}
}

// deaf is a daemon that answers nothing.
var _ = testprocess.RegisterHelper("deaf", func() {
	p, err := Create()
	if err != nil {
		panic(err)
	}
	Track(p, Start{PID: os.Getpid()}).setServes(true)
	fmt.Println("deaf")
	for ids, err := p.requests(); len(ids) == 0; ids, err = p.requests() {
		if err != nil {
			panic(err)
		}
		runtime.Gosched()
	}
	fmt.Println("asked")
	testprocess.ReadLine()
})

// The PID is that outside of the daemon's PID namespace.
func TestRequestIntoPIDNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a PID namespace")
	}
	d := startChild(t, "daemon", "", func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	})
	d.want("serves")
	r := readerOf(t, d.cmd.Process.Pid)
	if s, err := r.Status(); err != nil || s.PID != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if o, err := r.Request(t.Context()); err != nil || o.Kind != Rejected {
		t.Errorf("%+v, %v", o, err)
	}
}

// A child that has inherited the page, as a stand-in does, is not the process that it describes.
func TestPageOfAnotherProcess(t *testing.T) {
	p := newPage(t)
	track(t, p)
	c := startChild(t, "idle", "", func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{p.file} })
	c.want("idle")
	_, err := Find(c.cmd.Process.Pid)
	want := fmt.Sprintf("the process has no status page of its own, but that of process %d", os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

var _ = testprocess.RegisterHelper("idle", func() {
	fmt.Println("idle")
	testprocess.ReadLine()
})

func TestProcessesWithoutPage(t *testing.T) {
	if _, err := Find(os.Getpid()); err != ErrNoPage {
		t.Errorf("this process: %v", err)
	}
	if _, err := Find(1 << 30); err != ErrNoProcess {
		t.Errorf("no process: %v", err)
	}
	ended := exec.Command("/proc/self/exe")
	ended.Env = append(os.Environ(), testprocess.UseHelper(t, "idle"))
	if err := ended.Start(); err != nil {
		t.Fatal(err)
	}
	pid := ended.Process.Pid
	defer ended.Wait()
	testprocess.WaitFor(t, "zombie", func() bool {
		return testprocess.Status(t, pid)["State"] == "Z (zombie)"
	})
	if _, err := Find(pid); err != ErrNoPage && err != ErrNoProcess {
		t.Errorf("a zombie: %v", err)
	}
}
