//go:build linux && !autorestart_portable

package overlap

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A phase is a part of a restart with Overlap.
type phase struct {
	name  string
	reach func(s *server, version int) (standIn int) // brings the server there
	leave func(s *server, version int)               // lets it go on
}

// phases are those in which both processes live, in order.
var phases = []phase{
	{
		"the stand-in starts",
		func(s *server, version int) int {
			s.write(version)
			return s.standIn()
		},
		func(s *server, version int) { s.allowReady("stand-in", version); s.allowReady("main", version) },
	},
	{
		"the main process drains",
		func(s *server, version int) int {
			s.allowReady("stand-in", version)
			s.hold(held(version))
			s.write(version)
			return s.await(version, true).PID
		},
		func(s *server, version int) { s.allow(held(version)); s.allowReady("main", version) },
	},
	{
		"the main process starts",
		func(s *server, version int) int {
			s.allowReady("stand-in", version)
			s.write(version)
			pid := s.await(version, true).PID
			s.wantLogged(fmt.Sprintf("level=INFO msg=\"took over from the previous version\" version=%d", version))
			return pid
		},
		func(s *server, version int) { s.allowReady("main", version) },
	},
	{
		"the stand-in drains",
		func(s *server, version int) int {
			s.allowReady("stand-in", version)
			s.write(version)
			pid := s.await(version, true).PID
			s.hold(held(version))
			s.allowReady("main", version)
			s.await(version, false)
			return pid
		},
		func(s *server, version int) { s.allow(held(version)) },
	},
}

func (s *server) allowReady(role string, version int) { s.allow("ready", role, strconv.Itoa(version)) }

// held is the name of a request that is under way during the restart into a version.
func held(version int) string { return "request" + strconv.Itoa(version) }

// TestStandInEnds: a stand-in that ends, or stands still, costs what it was doing, and no more.
func TestStandInEnds(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGSEGV} {
		for _, p := range phases {
			t.Run(fmt.Sprint(p.name, "/", sig), func(t *testing.T) {
				t.Parallel()
				s := newServer(t, true, readyEnv+"=2s", drainEnv+"=2s")
				s.awaitServing(1)
				pid := p.reach(s, 2)
				s.seen[pid] = true
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
				if sig == syscall.SIGSTOP {
					waitForStop(t, pid)
				} else {
					testprocess.WaitFor(t, "end of the stand-in", func() bool { return isGone(pid, s.path) })
				}
				p.leave(s, 2)
				if p.name != phases[3].name && sig != syscall.SIGSTOP {
					s.mustGet("/")
				}
				rejected := sig == syscall.SIGSEGV && (p.name == phases[0].name || p.name == phases[1].name) ||
					sig == syscall.SIGSTOP && p.name == phases[0].name
				if rejected {
					s.wantLogged("failed as a stand-in")
					s.await(1, false)
					s.write(3) // it does not try that version again
					s.allowReady("stand-in", 3)
					s.allowReady("main", 3)
					s.await(3, false)
				} else {
					s.await(2, false)
				}
				s.wantAlone()
			})
		}
	}
}

// TestStandInStandsStill: if a stand-in that serves stands still, the old version serves again, however
// long its own requests last. The version is tried again.
func TestStandInStandsStill(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 16 s")
	}
	s := newServer(t, true, drainEnv+"=1h")
	s.awaitServing(1)
	s.allowReady("stand-in", 2)
	slow := s.hold("slow")
	s.write(2)
	pid := s.await(2, true).PID
	syscall.Kill(pid, syscall.SIGSTOP)
	waitForStop(t, pid)
	if i := s.mustGet("/"); i.Version != 1 || i.PID != s.pid() {
		t.Errorf("the answer is that of %+v", i)
	}
	s.wantLogged("killing the stand-in: it does not answer")
	s.allow("slow")
	if i, _ := testprocess.Receive(t, "answer of the old version", slow); i.Version != 1 {
		t.Errorf("the answer to the request that was under way is that of %+v", i)
	}
	s.allowReady("main", 2)
	s.await(2, false)
	s.wantAlone()
}

// TestMainProcessEnds: its stand-in ends, too, at once if it does not serve, and the next start
// serves.
func TestMainProcessEnds(t *testing.T) {
	for _, p := range phases {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, true, readyEnv+"=1m", drainEnv+"=1m")
			s.awaitServing(1)
			pid := p.reach(s, 2)
			s.seen[pid] = true
			var answer <-chan identity // of the stand-in
			if p.name == phases[1].name || p.name == phases[2].name {
				answer = s.hold("last")
			}
			s.cmd.Process.Kill()
			s.cmd.Wait()
			s.start(nil)
			p.leave(s, 2)
			s.awaitServing(2)
			if answer != nil {
				s.allow("last")
				if i, _ := testprocess.Receive(t, "answer of the stand-in", answer); i.PID != pid {
					t.Errorf("the answer is that of %+v, want PID %d", i, pid)
				}
			}
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
			p.reach(s, 2)
			s.cmd.Process.Signal(syscall.SIGSTOP)
			waitForStop(t, s.pid())
			p.leave(s, 2)
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

// TestRandomMoments: whichever process is killed or stands still for a while, whenever that is,
// the next start or deploy serves, and no process is left. AUTORESTART_TEST_MOMENTS is how many
// moments there are in each phase.
func TestRandomMoments(t *testing.T) {
	moments := testprocess.FromEnv(t, "AUTORESTART_TEST_MOMENTS", 5)
	for _, p := range phases {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, true, readyEnv+"=2s", drainEnv+"=1s")
			s.awaitServing(1)
			seed := uint64(testprocess.FromEnv(t, "AUTORESTART_TEST_SEED", int(rand.Int32())))
			t.Logf("AUTORESTART_TEST_SEED=%d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			shortly := func() time.Duration { return time.Duration(random.Int64N(int64(20 * time.Millisecond))) }
			for version := 2; version < 2+moments; version++ {
				pid := p.reach(s, version)
				s.seen[pid] = true
				main := random.IntN(2) == 0
				if main {
					pid = s.pid()
				}
				stop, leave, wait := random.IntN(2) == 0, shortly(), shortly()
				left := make(chan bool)
				go func() {
					defer close(left)
					time.Sleep(leave)
					p.leave(s, version)
				}()
				time.Sleep(wait)
				switch {
				case stop:
					syscall.Kill(pid, syscall.SIGSTOP)
					time.Sleep(shortly())
					if main {
						syscall.Kill(pid, syscall.SIGCONT)
					}
				case main:
					s.cmd.Process.Kill()
					s.cmd.Wait()
					s.start(nil)
				default:
					syscall.Kill(pid, syscall.SIGKILL) // it may have ended
				}
				<-left
				s.allowReady("stand-in", version)
				s.awaitServingOrRejected(version)
			}
		})
	}
}
