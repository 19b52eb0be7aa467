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
	group  string // of version 1: directory of a group that has the limit, beside those of systemd
	events string // file in which the kernel counts
	before int    // processes that it had killed already
}

// Memory returns the controller of memory. It skips the test if the machine has none.
func (s *System) Memory(t testing.TB) *Memory {
	t.Helper()
	controllers := testprocess.ReadFile(t, s.Path("/sys/fs/cgroup/cgroup.controllers"))
	if slices.Contains(strings.Fields(string(controllers)), "memory") {
		return (&Memory{events: filepath.Join(s.cgroup, "memory.events")}).begin(t)
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
	return (&Memory{group: s.memory, events: filepath.Join(s.memory, "memory.oom_control")}).begin(t)
}

// Options are those of a unit whose memory is limited.
func (m *Memory) Options() string {
	if m.group != "" {
		return ""
	}
	return fmt.Sprintf("MemoryMax=%d\nMemorySwapMax=0\n", MemoryLimit)
}

// Limit limits the memory of a process of such a unit, and of those that it forks. With version 1 of cgroups, memory that
// the process has already does not count.
func (m *Memory) Limit(t testing.TB, pid int) {
	t.Helper()
	if m.group == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(m.group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
}

// begin has Kills begin with 0.
func (m *Memory) begin(t testing.TB) *Memory {
	m.before = m.counted(t)
	return m
}

// Kills returns how many processes of the machine the kernel has killed since Memory was called.
func (m *Memory) Kills(t testing.TB) int { return m.counted(t) - m.before }

// counted returns how many processes the kernel has killed since the boot of the machine.
func (m *Memory) counted(t testing.TB) (n int) {
	t.Helper()
	content := string(testprocess.ReadFile(t, m.events))
	_, count, _ := strings.Cut(content, "\noom_kill ")
	if _, err := fmt.Sscan(count, &n); err != nil {
		t.Fatalf("%s: no number of OOM kills in %q: %v", m.events, content, err)
	}
	return n
}
