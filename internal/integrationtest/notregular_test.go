//go:build linux

package integrationtest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Only a regular file is opened. An open rewinds a tape, arms a watchdog, and lets the
// writer of a FIFO go on.
func TestOnlyRegularFileIsOpened(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make func(path string) error
	}{
		{"FIFO", func(path string) error { return unix.Mkfifo(path, 0o755) }},
		{"device", func(path string) error {
			const null = 1<<8 | 3
			return unix.Mknod(path, unix.S_IFCHR|0o755, null)
		}},
		{"socket", func(path string) error {
			l, err := net.Listen("unix", path)
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			d.Start()
			d.WaitForWatch()
			file := filepath.Join(filepath.Dir(d.Path), "new")
			if err := tt.make(file); err != nil {
				t.Skip(err)
			}
			opened := testprocess.WatchOpens(t, file)
			d.Rename(file, d.Path)
			wantRejected(d, "something that is not a regular file")
			if opened() {
				t.Error("it was opened")
			}
			d.DeployVersion(2)
			d.WantRestart(2)
		})
	}
}

// A terminal that is opened by the leader of a session without one becomes the controlling
// terminal of the session, see O_NOCTTY in open(2).
func TestTerminalAtPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		put  func(d *daemontest.Daemon, terminal string)
	}{
		{"link", func(d *daemontest.Daemon, terminal string) {
			d.Symlink(terminal, d.Path+".new")
			d.Rename(d.Path+".new", d.Path)
		}},
		{"mount", func(d *daemontest.Daemon, terminal string) {
			testprocess.Run(t, "nsenter", "-t", fmt.Sprint(d.PID()), "-m", "mount", "--bind", terminal, d.Path)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			d.Cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if tt.name == "mount" {
				needRoot(t)
				testprocess.NeedTool(t, "nsenter")
				d.Cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS
			}
			terminal := openTerminal(t)
			d.Start()
			d.WaitForWatch()
			tt.put(d, terminal)
			wantRejected(d, "something that is not a regular file")
			if tty := controllingTerminal(t, d.PID()); tty != "0" {
				t.Errorf("the daemon has the controlling terminal %s", tty)
			}
		})
	}
}

// openTerminal returns the path of a pseudo-terminal, see pty(7).
func openTerminal(t *testing.T) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("/dev/pts/", number)
}

// controllingTerminal returns the field tty_nr of proc_pid_stat(5).
func controllingTerminal(t *testing.T, pid int) string {
	t.Helper()
	stat := string(testprocess.ReadFile(t, fmt.Sprintf("/proc/%d/stat", pid)))
	_, fields, _ := strings.Cut(stat, ") ") // state ppid pgrp session tty_nr
	return strings.Fields(fields)[4]
}
