//go:build linux

// Package systemdtest boots systemd as process 1 of a machine that consists of namespaces. Tests write
// units there, start them and deploy programs. The machine has its own network, processes, mounts and
// cgroups, and shares the kernel.
//
// The tests of a package share one machine. It ends with the process of the tests, however that ends, and
// leaves nothing behind.
//
// A test needs root, and a directory with a system in which systemd is installed: `.ci/systemd-root` makes
// it, AUTORESTART_TEST_SYSTEMD_ROOT names it.
package systemdtest

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// RootEnv names the directory with the system. Nothing changes it.
const RootEnv = "AUTORESTART_TEST_SYSTEMD_ROOT"

// System is a machine with systemd. Its methods may be called at the same time.
type System struct {
	*machine

	mu    sync.Mutex
	units map[string]*unit // by name
}

// A unit is one that a test has written.
type unit struct {
	cursor string // of the journal, before the unit was written
}

// bootInstances is more than how many inotify instances the boot needs. The user's other processes share them.
const bootInstances = 10

// inotifyHasRoom reports whether the user can have that many more inotify instances.
func inotifyHasRoom() bool {
	for range bootInstances {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return false
		}
		defer unix.Close(fd)
	}
	return true
}

var boot = sync.OnceValues(func() (*System, error) {
	// Without them, systemd ends. Other tests end, too.
	testprocess.Within(testprocess.Timeout, inotifyHasRoom)
	m, err := start(os.Getenv(RootEnv))
	if err != nil {
		return nil, err
	}
	testprocess.AtEnd(m.end)
	return &System{machine: m, units: make(map[string]*unit)}, nil
})

// Machine returns the machine, which the first call boots. It skips the test without root, and without a
// directory in RootEnv. In CI that directory must be there.
func Machine(t testing.TB) *System {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("systemd in namespaces needs root")
	}
	if os.Getenv(RootEnv) == "" {
		const reason = RootEnv + " is not set: .ci/systemd-root DIR makes a directory for it"
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	for _, tool := range []string{"mount", "nsenter", "pivot_root", "umount", "unshare"} {
		testprocess.NeedTool(t, tool)
	}
	s, err := boot()
	if err != nil {
		t.Fatal("systemd does not boot: ", err)
	}
	return s
}

// Path returns the path of a file of the machine as this process sees it. No directory on the path may be a
// symbolic link.
func (s *System) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(s.PID()), "root", path)
}

// WriteFile writes a file of the machine, in a directory that it makes if it is missing. The file appears
// at once, as a deploy should.
func (s *System) WriteFile(t testing.TB, path string, mode os.FileMode, content []byte) {
	t.Helper()
	name := s.Path(path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	testprocess.WriteExecutable(t, name+".new", content)
	if err := os.Chmod(name+".new", mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// Install copies a file of this process to an executable file of the machine, as WriteFile does.
func (s *System) Install(t testing.TB, path, hostPath string) {
	t.Helper()
	s.WriteFile(t, path, 0o755, testprocess.ReadFile(t, hostPath))
}

// Remove removes a file or directory of the machine.
func (s *System) Remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(s.Path(path)); err != nil {
		t.Error(err)
	}
}
