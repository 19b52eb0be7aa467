//go:build !autorestart_portable

package verify

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// On a busy machine the end may take a moment, too.
func init() { endTimeout = testprocess.Timeout }

// eachMeans runs a test with each means by which Run keeps together what it starts.
func eachMeans(t *testing.T, test func(t *testing.T, m means)) {
	t.Run("cgroup", func(t *testing.T) {
		parent := newCgroup(t)
		test(t, means{
			starter: func(ctx context.Context, cmd *exec.Cmd) (scope, error) {
				return startInCgroupBelow(ctx, parent, cmd)
			},
			killsAll: true,
		})
		if left, err := filepath.Glob(parent + "/*/"); err != nil || left != nil {
			t.Errorf("left %q, %v", left, err)
		}
	})
	t.Run("namespace", func(t *testing.T) {
		needNamespace(t)
		test(t, means{starter: startInNamespace, killsAll: true})
	})
	t.Run("group", func(t *testing.T) { test(t, means{starter: startInGroup}) })
}

// newCgroup makes a cgroup below the one of this process.
func newCgroup(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for a cgroup")
	}
	dir, _ := cgroupDir(string(testprocess.ReadFile(t, "/proc/self/cgroup")), string(testprocess.ReadFile(t, "/proc/self/mountinfo")))
	if dir == "" {
		t.Skip("no cgroup of version 2 here")
	}
	name, err := os.MkdirTemp(dir, "autorestart-test-")
	if err != nil {
		t.Skip("no cgroup can be made here: ", err)
	}
	t.Cleanup(func() {
		testprocess.WaitFor(t, "empty cgroup", func() bool { return removeCgroup(name) == nil })
	})
	if _, err := os.Stat(filepath.Join(name, "cgroup.kill")); err != nil {
		t.Skip("no cgroup can be killed here: ", err)
	}
	return name
}

// needNamespace skips the test where no PID namespace can be made.
func needNamespace(t *testing.T) {
	t.Helper()
	ctx, cancel := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer cancel()
	cmd := exec.Command("/proc/self/exe", "-test.list", "^$")
	cmd.SysProcAttr = groupAttr()
	s, err := startInNamespace(ctx, cmd)
	if err != nil {
		t.Skip("needs CAP_SYS_ADMIN for a PID namespace: ", err)
	}
	s.kill()
	cmd.Wait()
	s.close()
}
