//go:build linux && !autorestart_portable

package minimal_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A system lacks something that the library uses where it is there.
type system struct {
	name string

	// take takes it away from a process, which then executes the daemon. An error says why
	// that can't be done here.
	take func() error

	// prepare does likewise to a daemon that has not been started. Both may be nil.
	prepare func(t *testing.T, d *daemontest.Daemon)

	// started does something to the daemon when it has been started; nil for nothing.
	started func(t *testing.T, d *daemontest.Daemon)

	// lines are what the daemon warns of, each once in an image at most.
	lines []string

	noRollback bool // a ReadyTimeout has every version rejected
	noState    bool // a large state does not cross
}

const (
	polling   = "watching without relying on events"
	noOrphans = "no pidfds: some orphans will be left"
	unchecked = "a version that Verify accepts is executed by its path"
	noRoom    = "passed files and states are missing"
	slowLog   = "log lines lost at the restart"
	scheduled = "the new version loses the scheduling of the main thread"
)

// noScheduling is systemd's SystemCallFilter=~@resources.
const noScheduling = "no calls that set scheduling"

var systems = []system{
	{name: "everything"},
	{name: "Linux 4.19", take: forcefallback.Linux419, lines: []string{noOrphans}},
	{name: "no inotify", take: denyAlways(unix.SYS_INOTIFY_INIT1), lines: []string{polling}},
	{name: "no pidfds", take: func() error { return forcefallback.NoPidfds(unix.ENOSYS) }, lines: []string{noOrphans}},
	{name: "no memfd", take: denyAlways(unix.SYS_MEMFD_CREATE)},
	{name: "no temporary directory", prepare: noTemporaryDirectory},
	{name: "no memfd, no temporary directory", take: denyAlways(unix.SYS_MEMFD_CREATE), prepare: noTemporaryDirectory,
		lines: []string{noRoom}, noState: true},
	{name: "read-only root", take: readOnly},
	{name: "no proc", take: forcefallback.NoProc, lines: []string{polling, unchecked}, noRollback: true},
	{name: "64 MB", prepare: in64MB},
	{name: noScheduling, take: func() error { return forcefallback.Kill(forcefallback.Resources...) }, started: renice, lines: []string{scheduled}},
	{name: "nothing of these", take: nothing, prepare: func(t *testing.T, d *daemontest.Daemon) {
		noTemporaryDirectory(t, d)
		in64MB(t, d)
	}, lines: []string{polling, noOrphans, unchecked, noRoom}, noRollback: true, noState: true},
}

const systemEnv = "AUTORESTART_TEST_FALLBACK"

// start starts the daemon on the system.
func (s *system) start(t *testing.T, env ...string) *daemontest.Daemon {
	t.Helper()
	d := daemontest.New(t, "service")
	for _, kv := range env {
		d.Setenv(kv)
	}
	if s.prepare != nil {
		s.prepare(t, d)
	}
	helper := testprocess.UseHelper(t, "system")
	if s.take != nil {
		d.Setenv(helper)
		d.Setenv(systemEnv + "=" + s.name)
		probe := exec.Command(d.Path, probeOnly)
		probe.Env = d.Cmd.Env
		if output, err := probe.CombinedOutput(); err != nil {
			skip(t, string(output))
		}
	}
	d.Start()
	if s.started != nil {
		s.started(t, d)
	}
	return d
}

// skip skips a test, but not where CI has all rights.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" && os.Getuid() == 0 && !emulated() {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// probeOnly is the argument of a process that only tries to take something away from itself.
const probeOnly = "probe"

var _ = testprocess.RegisterHelper("system", func() {
	runtime.LockOSThread() // it executes the daemon
	self, err := os.Executable()
	name := os.Getenv(systemEnv)
	os.Setenv(testprocess.HelperEnv, "service")
	for _, s := range systems {
		if s.name == name {
			err = errors.Join(err, s.take())
		}
	}
	if err == nil && len(os.Args) > 1 && os.Args[1] == probeOnly {
		os.Exit(0)
	}
	if err == nil {
		err = syscall.Exec(self, os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
})

func denyAlways(call uint32) func() error {
	return func() error {
		return forcefallback.Deny(forcefallback.Denial{Call: call, Arg: -1, Errno: unix.ENOSYS})
	}
}

func readOnly() error {
	if err := forcefallback.PrivateMounts(); err != nil {
		return err
	}
	return forcefallback.ReadOnly()
}

// nothing takes all of it away.
func nothing() error {
	return errors.Join(forcefallback.NoProc(), forcefallback.ReadOnly(),
		denyAlways(unix.SYS_INOTIFY_INIT1)(), denyAlways(unix.SYS_MEMFD_CREATE)(), forcefallback.Linux419())
}

// The other goroutines of this daemon, which restart it, are never on its main thread, which differs.
func init() {
	if os.Getenv(systemEnv) == noScheduling {
		runtime.LockOSThread()
	}
}

// renice changes the main thread alone, as renice(1) does.
func renice(t *testing.T, d *daemontest.Daemon) {
	if err := unix.Setpriority(unix.PRIO_PROCESS, d.PID(), 5); err != nil {
		t.Fatal(err)
	}
}

func noTemporaryDirectory(t *testing.T, d *daemontest.Daemon) {
	d.Setenv("TMPDIR=" + filepath.Join(t.TempDir(), "missing"))
}

// in64MB limits the memory of the daemon, its page cache included.
func in64MB(t *testing.T, d *daemontest.Daemon) {
	for dir, limit := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir, err := os.MkdirTemp(dir, "autorestart")
		if err != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		// Beside the hierarchies of cgroups v1, /sys/fs/cgroup is a tmpfs, where any file can be made.
		file, err := os.OpenFile(filepath.Join(dir, limit), os.O_WRONLY, 0)
		if err != nil {
			continue
		}
		_, err = file.WriteString("64M")
		if err := errors.Join(err, file.Close()); err != nil {
			continue
		}
		d.Setenv("GOMEMLIMIT=40MiB")
		d.Cmd.Path, d.Cmd.Args = "/bin/sh", []string{"sh", "-c", `echo $$ >"$1/cgroup.procs" && exec "$0"`, d.Path, dir}
		return
	}
	skip(t, "needs root, and a cgroup with the memory controller")
}

// emulated reports whether an emulator runs this program, as qemu-user: it shows the program to
// those who open /proc/self/exe, and itself to others.
func emulated() bool {
	const exe = "/proc/self/exe"
	shown, err := os.Open(exe)
	if err != nil {
		return false
	}
	defer shown.Close()
	a, errA := shown.Stat()
	b, errB := os.Stat(exe)
	return errA == nil && errB == nil && !os.SameFile(a, b)
}
