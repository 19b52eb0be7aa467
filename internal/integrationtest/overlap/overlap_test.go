//go:build linux && !autorestart_portable

// Package overlap tests restarts with Overlap: real daemons, real clients, and processes that end
// or stand still in each phase.
package overlap

import (
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// TestOverlap: while a request is under way, and the new version starts, another process serves.
func TestOverlap(t *testing.T) {
	s := newServer(t, true, drainEnv+"=1m")
	s.awaitServing(1)
	defer s.load()()
	slow := s.hold("slow")
	s.write(2)
	pid := s.standIn()
	s.await(1, false)
	s.allow("ready", "stand-in", "2")
	if i := s.await(2, true); i.PID != pid || i.Generation != 1 {
		t.Errorf("the stand-in is %+v, want PID %d, generation 1", i, pid)
	}
	slower := s.hold("slower")
	s.allow("slow")
	if i, _ := testprocess.Receive(t, "answer of the old version", slow); i.Version != 1 || i.PID != s.pid() {
		t.Errorf("the answer to the request that was under way is %+v", i)
	}
	s.wantLogged("took over from the previous version")
	s.await(2, true)
	s.allow("ready", "main", "2")
	if i := s.await(2, false); i.Generation != 1 || i.Children != 0 {
		t.Errorf("the new version is %+v, want generation 1 and no child", i)
	}
	if children := s.children(); len(children) != 1 {
		t.Errorf("children while the stand-in drains: %v", children)
	}
	s.allow("slower")
	if i, _ := testprocess.Receive(t, "answer of the stand-in", slower); !i.StandIn || i.PID != pid {
		t.Errorf("the answer to the request to the stand-in is %+v", i)
	}
	s.wantAlone()
	if i := s.await(2, false); i.Reaped != 0 {
		t.Errorf("the program's reapers have reaped %d children, want none", i.Reaped)
	}
}

// TestFailingStandIn: a version that does not work is noticed by nobody.
func TestFailingStandIn(t *testing.T) {
	for _, test := range []struct {
		name    string
		version int
		want    string
	}{
		{"panics", panics, "main panicked: a panic in main"},
		{"panics elsewhere", panicsElsewhere, `exited with status 2; it has written \"panic: a panic elsewhere`},
		{"exits", exits, `exited with status 3; it has written \"last words\"`},
		{"log.Fatal", logsFatal, "fatal"},
		{"faults", faults, "a signal: segmentation fault"},
		{"is never ready", neverReady, "it was not ready within 1s"},
		{"rolls back", rollsBack, "no good"},
		{"returns", returns, "main returned before it was ready"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, false, readyEnv+"=1s")
			s.awaitServing(1)
			stop := s.load()
			s.write(test.version)
			s.wantLogged("failed as a stand-in")
			s.wantAlone()
			stop()
			if log := s.logged(); !strings.Contains(log, test.want) {
				t.Errorf("the log has no %q", test.want)
			}
			if i := s.await(1, false); i.Generation != 0 || i.RolledBack != "" {
				t.Errorf("%+v serves", i)
			}
			s.write(2)
			s.await(2, false)
			s.wantAlone()
		})
	}
}

// TestFailsInMain: a version that works as a stand-in only is rolled back, and serves until then.
func TestFailsInMain(t *testing.T) {
	for name, version := range map[string]int{"rolls back": failsInMain, "panics": panicsInMain, "is never ready": neverReadyInMain} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := "1m"
			if version == neverReadyInMain {
				timeout = "5s"
			}
			s := newServer(t, false, readyEnv+"="+timeout)
			s.awaitServing(1)
			stop := s.load()
			s.write(version)
			s.wantLogged("rolled back")
			var i identity
			testprocess.WaitFor(t, "old version", func() bool { i = s.mustGet("/"); return i.Version == 1 && i.RolledBack != "" })
			stop()
			if i.PID != s.pid() || i.Generation != 2 {
				t.Errorf("%+v serves", i)
			}
			s.wantAlone()
			s.write(2)
			s.await(2, false)
			s.wantAlone()
		})
	}
}

// TestManyRestarts: nothing is lost, and nothing is left.
func TestManyRestarts(t *testing.T) {
	s := newServer(t, false)
	s.awaitServing(1)
	stop := s.load()
	var files int
	restarts := testprocess.FromEnv(t, "AUTORESTART_TEST_OVERLAPS", 10)
	for n := range restarts {
		s.write(2 + n)
		s.await(2+n, false)
		s.wantAlone()
		if n == 1 {
			files = openFiles(t, s.pid())
		}
	}
	stop()
	testprocess.WaitFor(t, "no more open files than before", func() bool { return openFiles(t, s.pid()) <= files })
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	return len(testprocess.Glob(t, "/proc/%d/fd/*", pid))
}

// TestHotfix: a newer version replaces the stand-in while the version before it drains.
func TestHotfix(t *testing.T) {
	s := newServer(t, true, drainEnv+"=1m")
	s.awaitServing(1)
	defer s.load()()
	for _, version := range []string{"2", "3", "4"} {
		s.allow("ready", "stand-in", version)
	}
	first := s.hold("first")
	s.write(2)
	s.await(2, true)
	s.write(exits)
	s.wantLogged("failed as a stand-in")
	s.await(2, true)
	second := s.hold("second")
	s.write(3)
	s.await(3, true)
	if children := s.children(); len(children) != 2 {
		t.Errorf("children: %v, want the stand-in that serves and the one that drains", children)
	}
	s.write(exits)
	s.write(4) // waits for room, and takes the place of the one before
	s.allow("second")
	if i, _ := testprocess.Receive(t, "answer of the first stand-in", second); i.Version != 2 {
		t.Errorf("the answer of the first stand-in is %+v", i)
	}
	s.await(4, true)
	s.allow("first")
	if i, _ := testprocess.Receive(t, "answer of the main process", first); i.Version != 1 {
		t.Errorf("the answer of the main process is %+v", i)
	}
	s.allow("ready", "main", "4")
	if i := s.await(4, false); i.Generation != 1 {
		t.Errorf("%+v serves, want generation 1", i)
	}
	s.wantAlone()
}
