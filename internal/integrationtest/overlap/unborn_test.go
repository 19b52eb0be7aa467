//go:build linux && !autorestart_portable

package overlap

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestStandInStopsBeforeItsExec: a child that stands still between fork and exec holds up the thread
// that has forked it, and every other fork.
func TestStandInStopsBeforeItsExec(t *testing.T) {
	s := newServer(t, false)
	s.awaitServing(1)
	const attempts = 50
	for version := 2; version < 2+attempts; version++ {
		s.write(version)
		pid, caught := 0, false
		for n := 0; pid == 0 && n < 1_000_000; n++ {
			if pids := s.children(); len(pids) > 0 {
				pid = pids[0]
				syscall.Kill(pid, syscall.SIGSTOP)
				waitForStop(t, pid) // until then it may get on
				exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
				caught = strings.HasSuffix(exe, " (deleted)") // that of its parent
			}
		}
		if !caught {
			syscall.Kill(pid, syscall.SIGCONT)
		}
		s.await(version, false)
		s.wantAlone()
		if caught {
			return
		}
	}
	t.Skipf("no stand-in was stopped before its exec in %d attempts", attempts)
}
