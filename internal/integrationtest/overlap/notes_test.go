//go:build linux && !autorestart_portable

package overlap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/hang"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// takeNotes has a server write how it was started, what BeforeExec is called with, and whether it
// gets the lock of a file.
func takeNotes(r *autorestart.Restarter, version int) {
	dir, role := os.Getenv(dirEnv), "the main process"
	if autorestart.StandIn() {
		role = "the stand-in"
	}
	note := func(format string, args ...any) {
		fmt.Printf(role+" of version "+strconv.Itoa(version)+" "+format+"\n", args...)
	}
	note("begins with %s", os.Getenv(noteEnv))
	r.BeforeExec = func(_ context.Context, plan *autorestart.ExecPlan) error {
		note("calls BeforeExec, stand-in: %v", plan.StandIn)
		plan.Env = append(plan.Env, fmt.Sprintf("%s=stand-in: %v", noteEnv, plan.StandIn))
		return nil
	}
	passed, err := autorestart.Inherited("locked")
	if errors.Is(err, os.ErrNotExist) {
		passed = daemontest.Must(os.Create(filepath.Join(dir, "locked")))
		err = autorestart.Pass("locked", passed)
	}
	daemontest.Must(0, err)
	opened := daemontest.Must(os.Open(filepath.Join(dir, "locked")))
	note("locks the passed file: %v", syscall.Flock(int(passed.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	note("locks a file opened again: %v", syscall.Flock(int(opened.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	daemontest.Must(0, os.WriteFile(filepath.Join(dir, "noted by "+role), nil, 0o600))
}

func newNotingServer(t *testing.T) *server {
	t.Helper()
	s := newServer(t, true, drainEnv+"=1m", noteEnv+"=nothing")
	s.awaitServing(1)
	return s
}

// TestBeforeExecOfStandIn: BeforeExec is called for each start, for that of the stand-in while the old
// version serves, and what it changes is for that start.
func TestBeforeExecOfStandIn(t *testing.T) {
	s := newNotingServer(t)
	s.allow("ready", "stand-in", "2")
	slow := s.hold("slow")
	s.write(2)
	s.await(2, true)
	s.wantLogged("the main process of version 1 calls BeforeExec, stand-in: true\n")
	s.wantLogged("the stand-in of version 2 begins with stand-in: true\n")
	if log := s.logged(); strings.Contains(log, "stand-in: false") {
		t.Error("BeforeExec was called for the exec before the old version was drained")
	}
	s.allow("slow")
	testprocess.Receive(t, "answer of the old version", slow)
	s.wantLogged("the main process of version 1 calls BeforeExec, stand-in: false\n")
	s.wantLogged("the main process of version 2 begins with stand-in: false\n")
	s.allow("ready", "main", "2")
	s.await(2, false)
	s.wantAlone()
	if n := strings.Count(s.logged(), "calls BeforeExec"); n != 2 {
		t.Errorf("BeforeExec was called %d times, want 2", n)
	}
}

// TestOutputOfStandIn: what a stand-in writes is in the log when it serves.
func TestOutputOfStandIn(t *testing.T) {
	s := newNotingServer(t)
	s.write(2)
	testprocess.WaitFor(t, "notes", func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "noted by the stand-in"))
		return err == nil
	})
	const note = "the stand-in of version 2 begins"
	if strings.Contains(s.logged(), note) {
		t.Error("the stand-in writes to the log before it serves")
	}
	s.allow("ready", "stand-in", "2")
	s.wantLogged(note)
	s.allow("ready", "main", "2")
	s.await(2, false)
	s.wantAlone()
}

// TestLockOfPassedFile: a lock by flock(2) is that of both processes if the file was passed on, and
// of one if the file is opened again.
func TestLockOfPassedFile(t *testing.T) {
	s := newNotingServer(t)
	s.allow("ready", "stand-in", "2")
	s.allow("ready", "main", "2")
	s.write(2)
	s.await(2, false)
	s.wantAlone()
	for _, process := range []string{"the main process of version 1", "the stand-in of version 2", "the main process of version 2"} {
		s.wantLogged(process + " locks the passed file: <nil>\n")
		s.wantLogged(process + " locks a file opened again: " + syscall.EWOULDBLOCK.Error() + "\n")
	}
}

// TestHangBeforeMainOfStandIn: a version that hangs while a package is initialised is rejected.
func TestHangBeforeMainOfStandIn(t *testing.T) {
	s := newServer(t, false, readyEnv+"=1s", hang.Env+"=1")
	s.awaitServing(1)
	s.write(2)
	s.standIn()
	s.wantLogged("a version that has failed as a stand-in (it was not ready within 1s")
	s.wantAlone()
	s.await(1, false)
}

// TestDeployWhileStandInDrains: the next restart begins while the stand-in of the last one has a
// request.
func TestDeployWhileStandInDrains(t *testing.T) {
	s := newServer(t, false, drainEnv+"=1m", holdEnv+"=1")
	s.awaitServing(1)
	for _, version := range []string{"2", "3"} {
		s.allow("ready", "stand-in", version)
	}
	s.write(2)
	pid := s.await(2, true).PID
	slow := s.hold("slow")
	s.allow("ready", "main", "2")
	s.await(2, false)
	s.write(3)
	s.await(3, true)
	s.allow("ready", "main", "3")
	s.await(3, false)
	s.allow("slow")
	if i, _ := testprocess.Receive(t, "answer of the first stand-in", slow); i.PID != pid {
		t.Errorf("the answer to the slow request is %+v, want one of process %d", i, pid)
	}
	s.wantAlone()
}

// TestDatagramsOfBothProcesses: each datagram is answered, and once, whichever process reads it.
func TestDatagramsOfBothProcesses(t *testing.T) {
	s := newServer(t, false)
	s.awaitServing(1)
	address := string(testprocess.ReadFile(t, filepath.Join(s.dir, "udp")))
	const clients, restarts = 4, 5
	done, sent := make(chan struct{}), make(chan int, clients)
	for range clients {
		go func() {
			n, err := exchange(address, done)
			if err != nil {
				t.Errorf("datagram %d: %v", n, err)
			}
			sent <- n
		}()
	}
	for n := range restarts {
		s.write(2 + n)
		s.await(2+n, false)
		s.wantAlone()
	}
	close(done)
	for range clients {
		if n, _ := testprocess.Receive(t, "end of a client", sent); n < restarts {
			t.Errorf("a client has sent %d datagrams only", n)
		}
	}
}

// exchange sends one datagram after the other, each after the answer to the last one.
func exchange(address string, done <-chan struct{}) (n int, err error) {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	b := make([]byte, 100)
	for ; ; n++ {
		select {
		case <-done:
			return n, nil
		default:
		}
		text := strconv.Itoa(n)
		if _, err := conn.Write([]byte(text)); err != nil {
			return n, err
		}
		stop := testprocess.LimitIO(conn, testprocess.Timeout)
		size, err := conn.Read(b)
		stop()
		if err != nil {
			return n, err
		}
		if got := string(b[:size]); got != text {
			return n, errors.New("the answer is " + got)
		}
	}
}

var _ = testprocess.RegisterHelper("restart with more rights", func() {
	r := autorestart.Restarter{Path: os.Args[1], Overlap: true}
	fmt.Println(errors.Is(r.Restart(context.Background()), errors.ErrUnsupported))
})

// TestOverlapWithMoreRights: a set-user-ID program can't have stand-ins.
func TestOverlapWithMoreRights(t *testing.T) {
	helper := testprocess.UseHelper(t, "restart with more rights")
	if os.Getuid() != 0 {
		t.Skip("needs root to make a privileged program")
	}
	dir, err := os.MkdirTemp("", "autorestart") // where set-user-ID programs have an effect
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app")
	testprocess.WriteExecutable(t, path, daemontest.Image(t, 1))
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o755|os.ModeSetuid)); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	cmd := exec.Command(path, path)
	cmd.Env = append(os.Environ(), helper)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if output, err := cmd.CombinedOutput(); err != nil || string(output) != "true\n" {
		t.Errorf("the program has written %q, %v; want true", output, err)
	}
}
