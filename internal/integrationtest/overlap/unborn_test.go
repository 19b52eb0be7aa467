//go:build linux && !autorestart_portable

package overlap

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// TestStandInStopsBeforeItsExec: a child that stands still between fork and exec holds up the thread
// that has forked it, and every other fork.
func TestStandInStopsBeforeItsExec(t *testing.T) {
	s := newServer(t, false)
	s.awaitServing(1)
	const attempts = 50
	for version := 2; version < 2+attempts; version++ {
		s.write(version)
		caught := s.stopUnborn()
		s.await(version, false)
		s.wantAlone()
		if caught {
			return
		}
	}
	t.Skipf("no stand-in was stopped before its exec in %d attempts", attempts)
}

// stopUnborn stops the stand-in of the version that was written last, and reports whether it had not
// executed that version yet. If it had, it goes on. A stand-in may come and go between two looks:
// then the main process runs the version.
func (s *server) stopUnborn() (caught bool) {
	s.t.Helper()
	pid := 0
	testprocess.WaitFor(s.t, "stand-in, or a restart", func() bool {
		for range 1000 { // in a row: there is little time to find it
			if pids := s.children(); len(pids) > 0 {
				pid = pids[0]
				return true
			}
		}
		return !executesReplaced(s.process())
	})
	if pid == 0 {
		return false
	}
	syscall.Kill(pid, syscall.SIGSTOP)
	waitForStop(s.t, pid) // until then it may get on
	if executesReplaced(pid) {
		return true
	}
	syscall.Kill(pid, syscall.SIGCONT)
	return false
}

// executesReplaced reports whether a process executes a file whose path leads to another one by now.
func executesReplaced(pid int) bool {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return strings.HasSuffix(exe, " (deleted)")
}
