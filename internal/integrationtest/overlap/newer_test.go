//go:build linux && !autorestart_portable

package overlap

import (
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// TestStandInEndsBeforeNewer: a stand-in that crashes says nothing about the version after it, whose
// stand-in starts at that moment.
func TestStandInEndsBeforeNewer(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"crash": syscall.SIGSEGV, "kill": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, true, drainEnv+"=1m")
			s.awaitServing(1)
			s.allow("ready", "stand-in", "2")
			s.hold("slow")
			s.write(2)
			pid := s.await(2, true).PID
			s.write(3)
			testprocess.WaitFor(t, "second stand-in", func() bool { return len(s.children()) == 2 })
			syscall.Kill(pid, sig)
			s.awaitServing(1) // a request to the stand-in may have failed
			s.allow("ready", "stand-in", "3")
			s.allow("ready", "main", "3")
			s.allow("slow")
			s.await(3, false)
			s.wantAlone()
		})
	}
}

// TestMainThreadDiffers: what renice(1), taskset(1) and the like change is the main thread of the
// process, and no other. Stand-ins are started by a thread like that one.
func TestMainThreadDiffers(t *testing.T) {
	s := newServer(t, false)
	s.awaitServing(1)
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, s.pid(), 5); err != nil {
		t.Fatal(err)
	}
	for version := 2; version < 5; version++ {
		s.write(version)
		s.await(version, false)
		s.wantAlone()
	}
}

// TestSignalWithoutSubscriber: a program may stop listening for a signal by package os/signal, so
// that the signal ends it. When no stand-in is left, it does.
func TestSignalWithoutSubscriber(t *testing.T) {
	s := newServer(t, false)
	s.awaitServing(1)
	s.write(2)
	s.await(2, false)
	s.wantAlone()
	s.mustGet("/deaf")
	testprocess.WaitFor(t, "end of the server", func() bool {
		s.cmd.Process.Signal(syscall.SIGTERM) // the end of the stand-in may be noticed a moment later
		return isGone(s.pid(), s.path)
	})
}

// TestConnectionsOfReplacedStandIn: a stand-in that is replaced gives its idle connections to the
// one that serves. The main process, over which they go, is executed at the same time.
func TestConnectionsOfReplacedStandIn(t *testing.T) {
	s := newServer(t, true, drainEnv+"=1m")
	s.awaitServing(1)
	var clients []*idleClient
	for range testprocess.FromEnv(t, "AUTORESTART_TEST_IDLE", 200) {
		c, err := s.dialIdle("unix")
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	// ask sends a request over each connection, until all answers are those of a version.
	ask := func(version int) {
		t.Helper()
		testprocess.WaitFor(t, "answers of version "+strconv.Itoa(version), func() bool {
			others := 0
			for i, c := range clients {
				got, err := c.get()
				if err != nil {
					t.Fatalf("connection %d: %v", i, err)
				}
				if got.Version != version {
					others++
				}
			}
			return others == 0
		})
	}
	ask(1)
	slow := s.hold("slow")
	s.allow("ready", "stand-in", "2")
	s.write(2)
	s.await(2, true)
	ask(2)
	s.write(3)
	testprocess.WaitFor(t, "second stand-in", func() bool { return len(s.children()) == 2 })
	s.allow("slow")
	testprocess.Receive(t, "answer of the main process", slow)
	s.allow("ready", "stand-in", "3") // everything is drained: the exec comes next
	s.wantLogged("took over from the previous version")
	ask(3)
	s.allow("ready", "main", "3")
	s.await(3, false)
	s.wantAlone()
	ask(3)
}

// TestOlderReleaseWaits: an older release of the library would leave the stand-in of the last restart
// unreaped. Its exec waits until that has ended, also without Overlap.
func TestOlderReleaseWaits(t *testing.T) {
	s := newServer(t, true, drainEnv+"=1m")
	s.awaitServing(1)
	s.allow("ready", "stand-in", "2")
	s.write(2)
	s.await(2, true)
	slow := s.hold("slow")
	s.allow("ready", "main", "2")
	s.await(2, false)
	standIns := s.children()
	s.writeImage(daemontest.BuiltWith(t, daemontest.Image(t, 3), "v0.0.0-20261127000000-0123456789ab"))
	s.wantLogged("has no Overlap")
	s.allow("ready", "main", "3")
	s.mustGet("/restart-alone")
	s.wantLogged("new version waits until no stand-in is left")
	if children := s.children(); len(standIns) != 1 || !slices.Equal(children, standIns) {
		t.Errorf("the children are %v, and were %v", children, standIns)
	}
	s.await(2, false)
	s.allow("slow")
	if i, _ := testprocess.Receive(t, "answer of the stand-in", slow); !i.StandIn {
		t.Errorf("the answer is that of %+v", i)
	}
	s.await(3, false)
	s.wantAlone()
}
