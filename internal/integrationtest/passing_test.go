//go:build linux

package integrationtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A version to which something was handed is not replaced before it is ready: it may be
// about to claim that.
func TestNoRestartBeforeReady(t *testing.T) {
	d := program.New(t)
	d.Start()
	d.WantAnswer("set-state counter 1", "")
	d.DeployVersion(2)
	d.WantRestart(2)
	for version := 3; version < 6; version++ {
		d.DeployVersion(version)
		testprocess.WaitFor(t, "log line", func() bool {
			return strings.Count(d.Log(), "new version waits until this one is ready") == version-2
		})
		d.WantAnswer("get-state counter", "1, true")
		d.WantAnswer("set-state counter 1", "")
		d.Tell("become-ready")
		d.WantRestart(version)
	}
	d.WantAnswer("get-state counter", "1, true")
}

// So many numbers of descriptors, one by one, would not fit into a variable.
func TestManyFiles(t *testing.T) {
	const n = 14000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Max < n+1000 {
		t.Skip("the limit of open files is", limit.Max, err)
	}
	d := program.New(t)
	d.Start()
	d.WantAnswer(fmt.Sprint("pass-many ", n), "<nil>")
	d.DeployVersion(2)
	d.WantRestart(2)
	d.WantAnswer("count-names", strconv.Itoa(n))
}

// A file that is not passed on any more is closed at once, except in a version on
// trial: the one before may need it.
func TestClosedBeforeReady(t *testing.T) {
	d := program.New(t)
	d.Start()
	for version := 2; version < 5; version++ {
		d.WantAnswer("relisten socket", "<nil>")
		d.WantAnswer("ready", "")
		d.DeployVersion(version)
		d.WantRestart(version)
	}
}

// Without memfd_create(2), state crosses in an unlinked file of the temporary directory.
func TestStateWithoutMemfd(t *testing.T) {
	if !daemontest.HaveEvents {
		t.Skip("no memfd here")
	}
	d := program.New(t)
	empty := t.TempDir()
	d.Setenv("TMPDIR=" + empty)
	d.Start()
	d.WantAnswer("set-state counter 1", "")
	d.WantAnswer("set-big-state big 5000000", "<nil>")
	d.WantAnswer("pass pipe one", "<nil>")
	d.Tell("restart-without-memfd")
	d.WantRestart(1)
	d.WantAnswer("get-state counter", "1, true")
	d.WantAnswer("get-state big", "5000000 bytes")
	d.WantAnswer("inherit pipe", "one, <nil>")
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// Where no file can be made either, files and small states cross in the variable, and what
// there is no room for is logged.
func TestStateWithoutAnyFile(t *testing.T) {
	if !daemontest.HaveEvents {
		t.Skip("no memfd here")
	}
	d := program.New(t)
	d.Setenv("TMPDIR=" + filepath.Join(t.TempDir(), "missing"))
	d.Start()
	d.WantAnswer("set-big-state big 5000000", "<nil>")
	d.WantAnswer("set-state counter 1", "")
	d.WantAnswer("pass pipe one", "<nil>")
	d.WantAnswer("pass-many 1000", "<nil>")
	d.Tell("restart-without-memfd")
	d.WantRestart(1)
	d.WantAnswer("get-state counter", "1, true")
	d.WantAnswer("get-state big", ", false")
	d.WantAnswer("inherit pipe", "one, <nil>")
	d.WantAnswer("count-names", "1001")
	d.WaitForWatch()
	d.WantLogged("passed files and states are missing")
	d.WantLogged("missing=1")
}

// Any process of the same user can read the environment that a process was executed with.
func TestEnvironmentTellsNothing(t *testing.T) {
	d := program.New(t)
	d.Start()
	d.WantAnswer("pass pipe one", "<nil>")
	d.WantAnswer("set-state counter 1", "")
	d.DeployVersion(2)
	d.WantRestart(2)
	environ := string(testprocess.ReadFile(t, fmt.Sprintf("/proc/%d/environ", d.PID())))
	_, value, found := strings.Cut(environ, handover.Env+"=")
	if !found {
		t.Fatal("no handover in the environment")
	}
	for _, text := range []string{d.Path, "file=", "manifest=", "watch="} {
		if strings.Contains(value, text) {
			t.Errorf("%q is in the environment: %q", text, value)
		}
	}
	d.WantAnswer("get-state counter", "1, true")
}

// The environment may grow to the limit of execve(2).
func TestEnvironmentNearTheLimit(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	d.Start()
	d.WantAnswer("pass pipe one", "<nil>")
	d.WantAnswer("leave-environment 200", "<nil>")
	d.DeployVersion(2)
	d.WantRestart(2)
	d.WantAnswer("inherit pipe", "one, <nil>")
}
