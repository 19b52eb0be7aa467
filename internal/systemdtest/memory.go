//go:build linux

package systemdtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// MemoryLimit is what a process of [System.Memory] may use, in bytes.
const MemoryLimit = 128 << 20

// Memory is the controller of memory, by which the kernel kills a process that needs more than [MemoryLimit].
type Memory struct {
	system *System
	group  string // of version 1: directory of a group that has the limit; systemd knows nothing of it
	before int    // processes that were killed there earlier
}

// Memory returns the controller of memory. It skips the test where the kernel gives the machine none.
func (s *System) Memory(t testing.TB) *Memory {
	t.Helper()
	controllers := testprocess.ReadFile(t, s.Path("/sys/fs/cgroup/cgroup.controllers"))
	if slices.Contains(strings.Fields(string(controllers)), "memory") {
		return &Memory{system: s}
	}
	if s.memory == "" {
		t.Skip("the kernel limits no memory here: neither is the memory controller of cgroup v2 enabled for the machine, nor is the one of v1 mounted")
	}
	for _, limit := range [...][2]string{
		{"memory.limit_in_bytes", strconv.Itoa(MemoryLimit)},
		{"memory.swappiness", "0"}, // swap would be memory, too
	} {
		switch err := os.WriteFile(filepath.Join(s.memory, limit[0]), []byte(limit[1]), 0); {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			t.Skip("the memory controller of cgroup v1 is mounted, and the machine can have no group there: ", err)
		case err != nil:
			t.Fatal(err)
		}
	}
	m := &Memory{system: s, group: s.memory}
	m.before = m.counted(t)
	return m
}

// Options are those of a unit whose memory is limited.
func (m *Memory) Options() string {
	if m.group != "" {
		return ""
	}
	return fmt.Sprintf("MemoryMax=%d\nMemorySwapMax=0\n", MemoryLimit)
}

// Limit limits the memory of a process of such a unit, and of those that it forks. What the process has already does
// not count where systemd does not know the group.
func (m *Memory) Limit(t testing.TB, pid int) {
	t.Helper()
	if m.group == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(m.group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
}

// Kills returns how many processes of the only unit with a limit the kernel has killed in this test.
func (m *Memory) Kills(t testing.TB, unit string) int {
	t.Helper()
	if m.group == "" {
		return strings.Count(m.system.Log(t, unit), "killed by the OOM killer")
	}
	return m.counted(t) - m.before
}

// counted returns how many processes of the group the kernel has killed.
func (m *Memory) counted(t testing.TB) (n int) {
	t.Helper()
	content := string(testprocess.ReadFile(t, filepath.Join(m.group, "memory.oom_control")))
	_, count, _ := strings.Cut(content, "\noom_kill ")
	if _, err := fmt.Sscan(count, &n); err != nil {
		t.Fatalf("no number of OOM kills in %q: %v", content, err)
	}
	return n
}
