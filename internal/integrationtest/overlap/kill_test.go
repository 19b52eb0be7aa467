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

// A phase is a part of a restart with Overlap.
type phase struct {
	name  string
	reach func(s *server) (standIn int) // brings the server there
	leave func(s *server)               // lets it go on
}

// phases are those in which both processes live, in order. Version 2 is the new one.
var phases = []phase{
	{
		"the stand-in starts",
		func(s *server) int {
			s.write(2)
			return s.standIn()
		},
		func(s *server) { s.allow("ready", "stand-in", "2"); s.allow("ready", "main", "2") },
	},
	{
		"the main process drains",
		func(s *server) int {
			s.allow("ready", "stand-in", "2")
			s.hold("slow")
			s.write(2)
			return s.await(2, true).PID
		},
		func(s *server) { s.allow("slow"); s.allow("ready", "main", "2") },
	},
	{
		"the main process starts",
		func(s *server) int {
			s.allow("ready", "stand-in", "2")
			s.write(2)
			pid := s.await(2, true).PID
			s.wantLogged("took over from the previous version")
			return pid
		},
		func(s *server) { s.allow("ready", "main", "2") },
	},
	{
		"the stand-in drains",
		func(s *server) int {
			s.allow("ready", "stand-in", "2")
			s.write(2)
			pid := s.await(2, true).PID
			s.hold("slower")
			s.allow("ready", "main", "2")
			s.await(2, false)
			return pid
		},
		func(s *server) { s.allow("slower") },
	},
}

// TestStandInEnds: a stand-in that ends, or stands still, costs what it was doing, and no more.
func TestStandInEnds(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGSEGV} {
		for _, p := range phases {
			t.Run(fmt.Sprint(p.name, "/", sig), func(t *testing.T) {
				t.Parallel()
				s := newServer(t, true, readyEnv+"=2s", drainEnv+"=2s")
				s.awaitServing(1)
				pid := p.reach(s)
				s.seen[pid] = true
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
				if sig == syscall.SIGSTOP {
					waitForStop(t, pid)
				} else {
					testprocess.WaitFor(t, "end of the stand-in", func() bool { return isGone(pid, s.path) })
				}
				p.leave(s)
				if p.name != phases[3].name && sig != syscall.SIGSTOP {
					s.mustGet("/")
				}
				rejected := sig == syscall.SIGSEGV && (p.name == phases[0].name || p.name == phases[1].name) ||
					sig == syscall.SIGSTOP && p.name == phases[0].name
				if rejected {
					s.wantLogged("failed as a stand-in")
					s.await(1, false)
					s.write(3) // it does not try that version again
					s.allow("ready", "stand-in", "3")
					s.allow("ready", "main", "3")
					s.await(3, false)
				} else {
					s.await(2, false)
				}
				s.wantAlone()
			})
		}
	}
}

// TestMainProcessEnds: its stand-in ends, too, at once if it does not serve, and the next start
// serves.
func TestMainProcessEnds(t *testing.T) {
	for _, p := range phases {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, true, readyEnv+"=1m", drainEnv+"=1m")
			s.awaitServing(1)
			pid := p.reach(s)
			s.seen[pid] = true
			s.cmd.Process.Kill()
			s.cmd.Wait()
			s.start(nil)
			p.leave(s)
			s.awaitServing(2)
			testprocess.WaitFor(t, "end of the stand-in", func() bool { return isGone(pid, s.path) })
		})
	}
}

// TestMainProcessStandsStill: it goes on where it was.
func TestMainProcessStandsStill(t *testing.T) {
	for _, p := range phases {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, true, drainEnv+"=1m")
			s.awaitServing(1)
			p.reach(s)
			s.cmd.Process.Signal(syscall.SIGSTOP)
			waitForStop(t, s.pid())
			p.leave(s)
			s.cmd.Process.Signal(syscall.SIGCONT)
			s.await(2, false)
			s.wantAlone()
		})
	}
}

// waitForStop waits until all threads of a process have stopped. Until then, one may accept a
// client.
func waitForStop(t *testing.T, pid int) {
	t.Helper()
	testprocess.WaitFor(t, "stop of all threads", func() bool {
		for _, file := range testprocess.Glob(t, "/proc/%d/task/*/stat", pid) {
			stat, _ := os.ReadFile(file)
			if _, rest, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(rest, "T") {
				return false
			}
		}
		return true
	})
}
