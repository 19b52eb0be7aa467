//go:build linux && !autorestart_portable

package overlap

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// An idleClient has one connection, which it never replaces.
type idleClient struct {
	conn net.Conn
	r    *bufio.Reader
}

func (s *server) dialIdle(network string) (*idleClient, error) {
	address := filepath.Join(s.dir, "socket")
	if network == "tcp" {
		address = string(testprocess.ReadFile(s.t, filepath.Join(s.dir, "tcp")))
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { conn.Close() })
	return &idleClient{conn, bufio.NewReader(conn)}, nil
}

func (c *idleClient) get() (i identity, err error) {
	defer testprocess.LimitIO(c.conn, testprocess.Timeout)()
	if _, err := fmt.Fprint(c.conn, "GET / HTTP/1.1\r\nHost: server\r\n\r\n"); err != nil {
		return i, err
	}
	return c.read()
}

func (c *idleClient) read() (i identity, err error) {
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return i, err
	}
	defer resp.Body.Close()
	return i, json.NewDecoder(resp.Body).Decode(&i)
}

// TestIdleConnections: an idle connection goes to the stand-in and to the new main process, and one
// with half a request, too.
func TestIdleConnections(t *testing.T) {
	s := newServer(t, true)
	s.awaitServing(1)
	n := testprocess.FromEnv(t, "AUTORESTART_TEST_IDLE", 100)
	var clients []*idleClient
	for i := range n {
		c, err := s.dialIdle([]string{"unix", "tcp"}[i%2])
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	ask := func(version int, standIn bool) {
		t.Helper()
		for i, c := range clients {
			switch got, err := c.get(); {
			case err != nil:
				t.Fatalf("connection %d: %v", i, err)
			case version != 0 && (got.Version != version || got.StandIn != standIn):
				t.Fatalf("connection %d: the answer is %+v, want version %d, stand-in: %v", i, got, version, standIn)
			}
		}
	}
	ask(1, false)
	for version := 2; version <= 3; version++ {
		slow := s.hold("slow" + strconv.Itoa(version))
		half, err := s.dialIdle("unix")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(half.conn, "GET / HTTP/1.1\r\nHo")
		s.allow("ready", "stand-in", strconv.Itoa(version))
		s.write(version)
		s.await(version, true)
		// The main process is held up: the stand-in has them as soon as they were given.
		testprocess.WaitFor(t, "connections at the stand-in", func() bool {
			got, err := clients[n-1].get()
			return err == nil && got.StandIn
		})
		ask(0, false)
		ask(version, true)
		fmt.Fprint(half.conn, "st: server\r\n\r\n")
		// The old version serves it unless the stand-in has it by now.
		if got, err := half.read(); err != nil || got.Version != version && got.Version != version-1 {
			t.Errorf("half a request: %+v, %v", got, err)
		}
		s.allow("slow" + strconv.Itoa(version))
		testprocess.Receive(t, "answer of the main process", slow)
		s.wantLogged("generation=" + strconv.Itoa(version-1))
		ask(version, true)
		s.allow("ready", "main", strconv.Itoa(version))
		s.await(version, false)
		s.wantAlone()
		ask(version, false)
	}
}

// TestStates: the main process gets what its stand-in has set, unless it has set that itself.
func TestStates(t *testing.T) {
	for name, test := range map[string]struct {
		main bool
		want string
	}{"of the stand-in": {false, "stand-in"}, "of the main process": {true, "main"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, true)
			s.awaitServing(1)
			s.mustGet("/state/before")
			s.allow("ready", "stand-in", "2")
			s.write(2)
			if i := s.await(2, true); i.State != "before" {
				t.Errorf("the stand-in begins with %q", i.State)
			}
			s.mustGet("/state/stand-in")
			s.hold("slow")
			s.wantLogged("took over from the previous version")
			s.allow("ready", "main", "2")
			if i := s.await(2, false); i.State != "before" {
				t.Errorf("the main process begins with %q", i.State)
			}
			if test.main {
				s.mustGet("/state/main")
			}
			s.allow("slow")
			s.wantAlone()
			testprocess.WaitFor(t, "state "+test.want, func() bool { return s.mustGet("/").State == test.want })
		})
	}
}

// TestSignals: a signal for the main process reaches the stand-in, too, and SIGTERM ends both.
func TestSignals(t *testing.T) {
	s := newServer(t, true, drainEnv+"=1m")
	s.awaitServing(1)
	s.allow("ready", "stand-in", "2")
	slow := s.hold("slow")
	s.write(2)
	pid := s.await(2, true).PID
	s.cmd.Process.Signal(syscall.SIGHUP)
	testprocess.WaitFor(t, "signal at the stand-in", func() bool { return s.mustGet("/").Signals == 1 })
	s.allow("slow")
	if i, _ := testprocess.Receive(t, "answer of the main process", slow); i.Signals != 1 {
		t.Errorf("the main process has got %d signals", i.Signals)
	}
	s.wantLogged("took over from the previous version")
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Wait()
	testprocess.WaitFor(t, "end of the stand-in", func() bool { return isGone(pid, s.path) })
	// It gets the signal, or finds that the main process has ended.
	if log := s.logged(); strings.Count(log, "terminating")+strings.Count(log, "the main process has ended") < 2 {
		t.Error("a process has not terminated by itself")
	}
}

// TestStandInIsKilledFirst: when memory is short, the kernel ends the stand-in.
func TestStandInIsKilledFirst(t *testing.T) {
	s := newServer(t, true)
	s.awaitServing(1)
	s.write(2)
	score := func(pid int) int {
		n, _ := strconv.Atoi(strings.TrimSpace(string(testprocess.ReadFile(t, fmt.Sprintf("/proc/%d/oom_score_adj", pid)))))
		return n
	}
	pid := s.standIn()
	testprocess.WaitFor(t, "higher oom_score_adj", func() bool { return score(pid) > score(s.pid()) || score(s.pid()) == 1000 })
}

// TestForgedStandIn: a variable of the environment makes no start that of a stand-in.
func TestForgedStandIn(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	other := os.NewFile(uintptr(pair[1]), "channel")
	defer other.Close()
	syscall.SetsockoptInt(pair[1], syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1)
	syscall.Write(pair[0], handover.StandInGreeting(os.Getpid())) // of another process
	s := newServer(t, false, handover.Env+"=pid="+strconv.Itoa(os.Getpid())+",generation=1,channel=1,")
	s.awaitServing(1)
	if i := s.mustGet("/"); i.StandIn || i.Generation != 0 {
		t.Errorf("the server takes itself for %+v", i)
	}
}

// TestFewDescriptors: a limit of open files that leaves room for little more than the sockets.
func TestFewDescriptors(t *testing.T) {
	s := newServerBy(t, []string{"/bin/sh", "-c", "ulimit -n 64; exec \"$0\""}, 0, false)
	s.awaitServing(1)
	stop := s.load()
	for version := 2; version < 5; version++ {
		s.write(version)
		s.await(version, false)
		s.wantAlone()
	}
	stop()
}

// TestClosedStreams: a daemon may have closed its standard streams, or its starter has.
func TestClosedStreams(t *testing.T) {
	s := newServerBy(t, []string{"/bin/sh", "-c", "exec \"$0\" <&- >&- 2>&-"}, 0, false)
	s.awaitServing(1)
	for version := 2; version < 4; version++ {
		s.write(version)
		s.await(version, false)
		s.wantAlone()
	}
}

// TestProcess1: the main process may be process 1 of a container.
func TestProcess1(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a PID namespace everywhere")
	}
	testprocess.NeedTool(t, "unshare")
	s := newServerBy(t, []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}, 1, false)
	s.awaitServing(1)
	stop := s.load()
	for version := 2; version < 5; version++ {
		s.write(version)
		s.await(version, false)
		s.wantAlone()
	}
	s.write(panics)
	s.wantLogged("failed as a stand-in")
	s.wantAlone()
	stop()
}

// TestFurtherAddress: the new version listens where the old one does not. Its stand-in has the
// address while the main process starts, and hands it over. So does that of a newer version, which
// comes while the old one drains.
func TestFurtherAddress(t *testing.T) {
	t.Run("new version", func(t *testing.T) { testFurtherAddress(t, false) })
	t.Run("newer version", func(t *testing.T) { testFurtherAddress(t, true) })
}

func testFurtherAddress(t *testing.T, newer bool) {
	s := newServer(t, true, drainEnv+"=1m")
	s.awaitServing(1)
	if newer {
		s.allowReady("stand-in", 2)
		s.hold("slow")
		s.write(2)
		s.await(2, true)
	}
	s.allowReady("stand-in", furtherAddress)
	s.write(furtherAddress)
	s.await(furtherAddress, true)
	want := func(standIn bool) {
		t.Helper()
		conn, err := net.Dial("unix", filepath.Join(s.dir, "further"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := &idleClient{conn, bufio.NewReader(conn)}
		if i, err := c.get(); err != nil || i.StandIn != standIn {
			t.Errorf("at the further address: %+v, %v", i, err)
		}
	}
	want(true)
	s.allow("slow")
	s.wantLogged("took over from the previous version")
	want(true)
	s.allowReady("main", furtherAddress)
	s.await(furtherAddress, false)
	s.wantAlone()
	want(false)
}
