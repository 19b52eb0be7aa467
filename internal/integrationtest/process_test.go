//go:build linux

package integrationtest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
)

func TestStartedBy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		start func(d *daemontest.Daemon)
	}{
		{"absolute path", func(d *daemontest.Daemon) {}},
		{"relative path", func(d *daemontest.Daemon) {
			d.Cmd.Dir = filepath.Dir(d.Path)
			d.Cmd.Path = "./app"
			d.Cmd.Args[0] = "./app"
		}},
		{"relative path with dots", func(d *daemontest.Daemon) {
			d.Cmd.Dir = filepath.Dir(d.Path)
			d.Cmd.Path = "../" + filepath.Base(d.Cmd.Dir) + "//app"
			d.Cmd.Args[0] = d.Cmd.Path
		}},
		{"PATH", func(d *daemontest.Daemon) {
			d.Cmd.Path = "/bin/sh"
			d.Cmd.Args = []string{"sh", "-c", "exec app"}
			d.Setenv("PATH=" + filepath.Dir(d.Path) + ":" + os.Getenv("PATH"))
		}},
		{"made-up argv[0]", func(d *daemontest.Daemon) { d.Cmd.Args[0] = "worker: main" }},
		{"another program's name", func(d *daemontest.Daemon) { d.Cmd.Args[0] = "/bin/sh" }},
		{"empty argv[0]", func(d *daemontest.Daemon) { d.Cmd.Args[0] = "" }},
		{"descriptor", func(d *daemontest.Daemon) {
			f, err := os.Open(d.Path)
			if err != nil {
				d.T.Fatal(err)
			}
			d.T.Cleanup(func() { f.Close() })
			d.Cmd.ExtraFiles = []*os.File{f}
			d.Cmd.Path = "/proc/self/fd/3"
		}},
	} {
		for _, chdir := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/chdir=%t", tt.name, chdir), func(t *testing.T) {
				t.Parallel()
				d := program.New(t)
				tt.start(d)
				d.Setenv(program.ManualEnv + "=1")
				d.Start()
				if chdir {
					d.WantAnswer("chdir /", "<nil>")
				}
				for version := 2; version <= 3; version++ {
					d.Tell("watch")
					d.WaitForWatch()
					d.DeployVersion(version)
					d.WantRestart(version)
				}
			})
		}
	}
}

// renice, ionice and taskset change a process's first thread, and the parent-death
// signal is set for it. The restart comes from another thread.
func TestRestartKeepsThreadAttributes(t *testing.T) {
	if !daemontest.HaveEvents {
		t.Skip("threads have their own only on Linux")
	}
	// The parent is the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d := program.New(t)
	d.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	pid := d.Start().PID
	if err := unix.Setpriority(unix.PRIO_PROCESS, pid, 7); err != nil {
		t.Fatal(err)
	}
	const whoProcess, idle = 1, 3 << 13
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, uintptr(pid), idle); errno != 0 {
		t.Fatal(errno)
	}
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &cpus); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if cpus.IsSet(cpu) {
			cpus.Zero()
			cpus.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(pid, &cpus); err != nil {
		t.Fatal(err)
	}
	for version := 2; version <= 5; version++ {
		d.DeployVersion(version)
		if sig := d.WantRestart(version).ParentDeath; sig != int(syscall.SIGTERM) {
			t.Errorf("version %d: parent-death signal %d, expected %d", version, sig, syscall.SIGTERM)
		}
		nice, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
		if err != nil || 20-nice != 7 { // the system call answers 20 less the nice value
			t.Errorf("version %d: nice value %d (%v), expected 7", version, 20-nice, err)
		}
		if io, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, uintptr(pid), 0); errno != 0 || io != idle {
			t.Errorf("version %d: I/O priority %#x (%v), expected %#x", version, io, errno, idle)
		}
		var now unix.CPUSet
		if err := unix.SchedGetaffinity(pid, &now); err != nil || now != cpus {
			t.Errorf("version %d: %d CPUs (%v), expected 1", version, now.Count(), err)
		}
	}
}

// Descriptors that cross the exec never become standard streams.
func TestClosedStandardStreams(t *testing.T) {
	d := program.New(t)
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	d.WantAnswer("close-standard", "<nil> <nil>")
	d.WantAnswer("set-state counter 1", "")
	d.Tell("watch")
	if daemontest.HaveEvents {
		d.WaitForWatch()
	}
	d.DeployVersion(2)
	d.WantRestart(2)
	d.WantAnswer("get-state counter", "1, true")
	d.WantAnswer("generation", "1")
}
