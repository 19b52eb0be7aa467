//go:build linux

package integrationtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// leftovers are what an exec changes for its moment, or could change.
var leftovers = []struct {
	name string
	look func(d *daemontest.Daemon) []string
	same func(before, after []string) bool
}{
	{"descriptors", openFiles, slices.Equal[[]string]},
	{"working directory", func(d *daemontest.Daemon) []string { return []string{link(d, "cwd")} }, slices.Equal[[]string]},
	{"signals and umask", func(d *daemontest.Daemon) []string {
		return linesOf(d, "status", "SigIgn:", "SigCgt:", "Umask:")
	}, slices.Equal[[]string]},
	{"limits", func(d *daemontest.Daemon) []string { return linesOf(d, "limits", "") }, slices.Equal[[]string]},
	{"limit of a child", childLimit, slices.Equal[[]string]},
	{"environment", func(d *daemontest.Daemon) []string { return []string{d.Ask("environment", "done")} }, slices.Equal[[]string]},
	{"nice values", niceValues, noOther},
}

// childLimit returns the limit of open files of a child. Where syscall.Exec executes the next
// image, it forgets the limit if it fails.
func childLimit(d *daemontest.Daemon) []string {
	if !daemontest.HaveEvents {
		return nil
	}
	return []string{d.Ask("nofile", "done")}
}

// openFiles returns all descriptors with their flags, also those of the file that is open,
// and where they lead.
func openFiles(d *daemontest.Daemon) (lines []string) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
	if err != nil {
		d.T.Fatal(err)
	}
	for _, e := range entries {
		flags := linesOf(d, "fdinfo/"+e.Name(), "flags:")
		lines = append(lines, fmt.Sprint(e.Name(), " ", link(d, "fd/"+e.Name()), " ", flags))
	}
	return lines
}

// niceValues returns those of the threads, each after the number of the thread.
func niceValues(d *daemontest.Daemon) (lines []string) {
	for _, path := range testprocess.Glob(d.T, "/proc/%d/task/*", d.PID()) {
		tid := daemontest.Must(strconv.Atoi(filepath.Base(path)))
		if nice, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err == nil {
			lines = append(lines, fmt.Sprint(tid, " ", 20-nice)) // the system call answers 20 less the nice value
		}
	}
	return lines
}

// noOther reports whether no thread has another nice value than before. Threads come and go.
func noOther(before, after []string) bool {
	for _, line := range after {
		tid, _, _ := strings.Cut(line, " ")
		i := slices.IndexFunc(before, func(b string) bool { return strings.HasPrefix(b, tid+" ") })
		if i >= 0 && before[i] != line {
			return false
		}
	}
	return true
}

// link returns where a link in the directory of the process in /proc leads.
func link(d *daemontest.Daemon, name string) string {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", d.PID(), name))
	if err != nil {
		return err.Error()
	}
	return target
}

// linesOf returns the lines of a file there that begin with one of the prefixes.
func linesOf(d *daemontest.Daemon, name string, prefixes ...string) (lines []string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.PID(), name))
	for line := range strings.Lines(string(b)) {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// wantNothingLeft checks that the daemon is after f as it was before.
func wantNothingLeft(d *daemontest.Daemon, f func()) {
	d.T.Helper()
	d.State() // its main has begun
	var before [][]string
	for _, l := range leftovers {
		lines := l.look(d)
		for again := l.look(d); !l.same(again, lines); again = l.look(d) {
			lines = again // the runtime opens a file now and then, for a moment
		}
		before = append(before, lines)
	}
	f()
	const limit = 2 * time.Second // until what has failed is closed
	for i, l := range leftovers {
		var after []string
		if !testprocess.Within(limit, func() bool { after = l.look(d); return l.same(before[i], after) }) {
			d.T.Errorf("%s: were\n%s\nand are\n%s", l.name, strings.Join(before[i], "\n"), strings.Join(after, "\n"))
		}
	}
}

// spoilPrevious makes the image that the daemon would roll back to one that can't be
// executed, until mend is called.
func spoilPrevious(d *daemontest.Daemon) (mend func()) {
	d.T.Helper()
	for _, fd := range testprocess.Glob(d.T, "/proc/%d/fd/*", d.PID()) {
		if target, _ := os.Readlink(fd); target == d.Path+" (deleted)" {
			chmod(d.T, fd, 0o644)
			return func() { chmod(d.T, fd, 0o755) }
		}
	}
	d.T.Fatal("no previous image")
	return nil
}

// unusualStates are those in which something is hard to undo.
var unusualStates = []struct {
	name    string
	prepare func(t *testing.T, d *daemontest.Daemon)
}{
	{"plain", func(*testing.T, *daemontest.Daemon) {}},
	{"standard streams closed", func(t *testing.T, d *daemontest.Daemon) {
		d.WantAnswer("close-standard", "<nil> <nil>")
		d.WantAnswer("chdir "+plainDir(t), "<nil>")
	}},
	{"directory that may not be read", func(t *testing.T, d *daemontest.Daemon) {
		dir := filepath.Join(plainDir(t), "dir")
		if err := os.Mkdir(dir, 0o711); err != nil {
			t.Fatal(err)
		}
		d.WantAnswer("chdir "+dir, "<nil>")
		chmod(t, dir, 0o311)
	}},
	{"directory that was removed", func(t *testing.T, d *daemontest.Daemon) {
		dir := filepath.Join(plainDir(t), "dir")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		d.WantAnswer("chdir "+dir, "<nil>")
		os.Remove(dir)
	}},
	{"another directory, no descriptor left", func(t *testing.T, d *daemontest.Daemon) {
		d.WantAnswer("chdir "+plainDir(t), "<nil>")
		d.WantAnswer("fill-table", "too many open files")
	}},
	{"first thread with a nice value of its own", func(t *testing.T, d *daemontest.Daemon) {
		if err := unix.Setpriority(unix.PRIO_PROCESS, d.PID(), 7); err != nil {
			t.Fatal(err)
		}
	}},
	{"signals subscribed to", func(t *testing.T, d *daemontest.Daemon) {
		for _, sig := range []syscall.Signal{unix.SIGUSR1, unix.SIGKILL, unix.SIGWINCH} {
			d.WantAnswer(fmt.Sprint("subscribe ", int(sig)), "<nil>")
		}
	}},
	{"file lent that is not close-on-exec", func(t *testing.T, d *daemontest.Daemon) {
		d.WantAnswer("lend-inheritable lent", "<nil>")
	}},
}

// TestFailedExecLeavesNothing: a process is after an exec that failed as it was before, and
// after a rollback that failed. It has no rights that would help it to undo something.
func TestFailedExecLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, state := range unusualStates {
		t.Run(state.name, func(t *testing.T) {
			t.Parallel()
			t.Run("exec", func(t *testing.T) {
				d := program.New(t)
				startUnprivileged(d)
				d.Ask("restart-too-long", "done") // the first Restart makes the status page, which stays
				state.prepare(t, d)
				wantNothingLeft(d, func() {
					for range 2 {
						d.Ask("restart-too-long", "done")
					}
				})
			})
			t.Run("rollback", func(t *testing.T) {
				program.NeedRollback(t)
				d := program.New(t)
				d.Setenv(program.ReadyEnv + "=1h")
				startUnprivileged(d)
				d.Tell("watch")
				d.DeployVersion(2)
				d.WantRestart(2)
				testprocess.WaitFor(t, "end of the inotify instance that this version has not claimed", func() bool {
					return testprocess.InotifyInstances(t, d.PID()) == 0
				})
				state.prepare(t, d)
				mend := spoilPrevious(d)
				wantNothingLeft(d, func() {
					for range 2 {
						if reason := d.Ask("fail in vain", "done"); !strings.Contains(reason, "permission denied") {
							t.Errorf("the rollback has failed for another reason: %s", reason)
						}
					}
				})
				mend()
				d.Tell("fail now")
				before := d.Last
				if s := d.NextStart(); s.Version != 1 || s.Dir != d.Cmd.Dir {
					t.Errorf("version %d runs in %s, want the first in %s", s.Version, s.Dir, d.Cmd.Dir)
				} else if fmt.Sprint(s.Args) != fmt.Sprint(before.Args) {
					t.Errorf("it has the arguments %q, want %q", s.Args, before.Args)
				}
			})
		})
	}
}

// startUnprivileged starts the daemon without rights, in a directory of its own.
func startUnprivileged(d *daemontest.Daemon) {
	d.T.Helper()
	d.Cmd.Dir = plainDir(d.T)
	d.Setenv(program.ManualEnv + "=1")
	if os.Getuid() == 0 {
		d.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	d.Start()
}

// TestDirectoryDuringRollback: handlers run while a version is drained for its rollback.
func TestDirectoryDuringRollback(t *testing.T) {
	d := program.OnTrial(t, time.Minute)
	dir := plainDir(t)
	d.WantAnswer("chdir "+dir, "<nil>")
	d.WantAnswer("tell-directory", "")
	d.Tell("fail it is no good")
	if got, want := d.Want("quiesced"), fmt.Sprint(dir, error(nil)); got != want {
		t.Errorf("drained in %s, want %s", got, want)
	}
	program.WantRollback(d, "it is no good")
}

// TestOpenFilesLimitOfNextAttempt: a process may have more files open than the limit that
// it was started with, and after an exec that failed the next attempt can open more.
func TestOpenFilesLimitOfNextAttempt(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	d.Cmd.Path = "/bin/sh"
	d.Cmd.Args = []string{"sh", "-c", `ulimit -Sn 100; exec "$0"`, d.Path}
	d.Setenv(program.ManualEnv + "=1")
	d.Start()
	d.WantAnswer("pass-many 200", "<nil>")
	d.Ask("restart-too-long", "done")
	d.Tell("restart")
	d.WantRestart(1)
	environ := string(testprocess.ReadFile(t, fmt.Sprintf("/proc/%d/environ", d.PID())))
	if _, value, _ := strings.Cut(environ, handover.Env+"="); strings.Contains(value, "file=") {
		t.Error("there was no descriptor for a carrier")
	}
}
