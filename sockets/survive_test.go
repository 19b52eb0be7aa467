//go:build linux

package sockets_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestEveryNetworkSurvives(t *testing.T) {
	dir := t.TempDir()
	abstract := fmt.Sprintf("@autorestart-test-%d", os.Getpid())
	for _, s := range []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"},
		{"tcp", "localhost:0"},
		{"tcp4", ":0"},
		{"tcp6", "[::1]:0"},
		{"unix", filepath.Join(dir, "a stream")},
		{"unix", abstract},
		{"unixpacket", filepath.Join(dir, "packets")},
		{"unixpacket", abstract + "-packets"},
		{"udp", "127.0.0.1:0"},
		{"udp4", "127.0.0.1:0"},
		{"udp6", "[::1]:0"},
		{"unixgram", filepath.Join(dir, "datagrams")},
	} {
		t.Run(s.network+" "+filepath.Base(s.address), func(t *testing.T) {
			if strings.HasPrefix(s.address, "[::1]") {
				if ln, err := net.Listen("tcp6", s.address); err != nil {
					t.Skip(err)
				} else {
					ln.Close()
				}
			}
			listen := "listen " + s.network + " " + s.address
			d := Start(t, "echo")
			address := d.Ask(listen, "open")
			wantEcho(t, s.network, address, 0)
			for generation := range 3 {
				d.Restart()
				// The kernel accepts connections before the new version listens.
				early := dial(t, s.network, address)
				send(t, early, "early")
				if again := d.Ask(listen, "open"); again != address {
					t.Fatalf("listens on %s after a restart, on %s before", again, address)
				}
				want(t, early, fmt.Sprintf("%d early", generation+1))
				early.Close()
				wantEcho(t, s.network, address, generation+1)
				d.Ask("ready", "done")
				wantEcho(t, s.network, address, generation+1)
			}
		})
	}
}

// freePort returns a port that no socket is bound to, another one at each call. It is not one of those
// that the kernel chooses by itself, see ip_local_port_range in ip(7): other tests get them all the time.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		ln, err := net.Listen("tcp", ":"+port)
		if err != nil {
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatal(err)
			}
			continue
		}
		ln.Close()
		if _, again := freePorts.LoadOrStore(port, true); !again {
			return port
		}
	}
}

var freePorts sync.Map // that freePort has returned

func TestSameAddressWrittenDifferently(t *testing.T) {
	port := freePort(t)
	d := Start(t, "echo")
	for generation, listen := range []string{
		"tcp :" + port,
		"tcp 0.0.0.0:" + port,
		"tcp [::]:" + port,
		"tcp :" + port,
	} {
		if generation > 0 {
			d.Restart()
		}
		early := (net.Conn)(nil)
		if generation > 0 {
			early = dial(t, "tcp", "127.0.0.1:"+port)
			send(t, early, "early")
		}
		d.Ask("listen "+listen, "open")
		if early != nil {
			want(t, early, fmt.Sprintf("%d early", generation))
			early.Close()
		}
		if names := d.Ask("names", "names"); strings.Count(names, "socket") != 1 {
			t.Errorf("passed on: %q", names)
		}
	}
}

func TestBoundPortFindsSocketOfPortZero(t *testing.T) {
	d := Start(t, "echo")
	address := d.Ask("listen tcp 127.0.0.1:0", "open")
	_, port, _ := net.SplitHostPort(address)
	d.Restart()
	if again := d.Ask("listen tcp localhost:"+port, "open"); again != address {
		t.Errorf("opened %s, expected the inherited %s", again, address)
	}
	d.Restart()
	if again := d.Ask("listen tcp 127.0.0.1:0", "open"); again == address {
		t.Error("port 0 gave a port that was requested by its number")
	}
}

func TestSeveralWithOneAddress(t *testing.T) {
	d := Start(t, "echo")
	first := d.Ask("listen tcp 127.0.0.1:0", "open")
	second := d.Ask("listen tcp 127.0.0.1:0", "open")
	third := d.Ask("listen tcp 127.0.0.1:0", "open")
	d.Ask("close 1", "closed")
	occupy(t, second)
	d.Restart()
	for i, address := range []string{first, third} {
		if again := d.Ask("listen tcp 127.0.0.1:0", "open"); again != address {
			t.Errorf("listener %d is %s, expected %s", i, again, address)
		}
	}
	if fresh := d.Ask("listen tcp 127.0.0.1:0", "open"); fresh == second {
		t.Errorf("the closed listener is back")
	}
}

// occupy binds the address of a socket that was closed, until the end of the test: the kernel gives
// its port to no other socket.
func occupy(t *testing.T, address string) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
}

func TestClosedSocketIsNotPassedOn(t *testing.T) {
	d := Start(t, "echo")
	path := filepath.Join(t.TempDir(), "socket")
	d.Ask("listen unix "+path, "open")
	d.Restart()
	d.Ask("listen unix "+path, "open")
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	if text := d.Ask("close 0", "closed"); text != "<nil>" {
		t.Error(text)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path of a closed listener: %v", err)
	}
	if names := d.Ask("names", "names"); names != "" {
		t.Errorf("passed on: %q", names)
	}
	d.Ask("listen unix "+path, "open")
	wantEcho(t, "unix", path, 1)
}

// Many programs remove the path before they listen.
func TestPathRemovedBeforeListen(t *testing.T) {
	for _, network := range []string{"unix", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			d := Start(t, "echo")
			path := filepath.Join(t.TempDir(), "socket")
			d.Ask("listen "+network+" "+path, "open")
			d.Restart()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			d.Ask("listen "+network+" "+path, "open")
			wantEcho(t, network, path, 1)
			d.Restart()
			d.Ask("listen "+network+" "+path, "open")
			wantEcho(t, network, path, 2)
		})
	}
}

// A deferred Close runs before the rollback.
func TestPathOfListenerClosedOnTrialStays(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	path := filepath.Join(t.TempDir(), "socket")
	listen := "listen unix " + path
	d := Start(t, "echo")
	d.Ask(listen, "open")
	d.Ask("trial", "done")
	d.Restart()
	d.Ask(listen, "open")
	d.Ask("close 0", "closed")
	early := dial(t, "unix", path)
	send(t, early, "early")
	d.Ask("fail", "start")
	d.Ask(listen, "open")
	want(t, early, "2 early")
	early.Close()

	d.Deploy()
	d.Ask("trial", "done")
	d.Restart()
	d.Ask(listen, "open")
	d.Ask("close 0", "closed")
	d.Ask("ready", "done")
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path of the closed listener is there: %v", err)
	}
	// From now on Close removes the path.
	d.Ask(listen, "open")
	d.Ask("close 1", "closed")
	d.Ask(listen, "open")
	wantEcho(t, "unix", path, 3)
}

func TestReadyClosesUnclaimedSockets(t *testing.T) {
	d := Start(t, "echo")
	path := filepath.Join(t.TempDir(), "socket")
	kept := d.Ask("listen tcp 127.0.0.1:0", "open")
	gone := d.Ask("listen tcp 127.0.0.2:0", "open")
	d.Ask("listen unix "+path, "open")
	d.Restart()
	d.Ask("listen tcp 127.0.0.1:0", "open")
	dial(t, "tcp", gone) // still there: it may be claimed
	d.Ask("ready", "done")
	if conn, err := net.Dial("tcp", gone); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, %v", conn, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path of an unclaimed listener: %v", err)
	}
	wantEcho(t, "tcp", kept, 1)
	occupy(t, gone)
	if fresh := d.Ask("listen tcp 127.0.0.2:0", "open"); fresh == gone {
		t.Error("the closed socket is back")
	}
}

func TestAddressTaken(t *testing.T) {
	d := Start(t, "echo")
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := other.Addr().String()
	if text := d.Ask("listen tcp "+address, "error"); !strings.Contains(text, "listen tcp "+address) || !strings.Contains(text, "address already in use") {
		t.Error(text)
	}
	if text := d.Ask("listen carrier pigeon", "error"); text != "listen carrier pigeon: unknown network carrier" {
		t.Error(text)
	}
	if names := d.Ask("names", "names"); names != "" {
		t.Errorf("passed on: %q", names)
	}
	other.Close()
	d.Ask("listen tcp "+address, "open")
	wantEcho(t, "tcp", address, 0)
}

func TestDescriptorsExhausted(t *testing.T) {
	for _, listen := range []string{"listen tcp 127.0.0.1:0", "listen udp 127.0.0.1:0", "listen unix @autorestart-exhausted"} {
		t.Run(listen, func(t *testing.T) {
			d := Start(t, "echo")
			// This opens the descriptors that the runtime needs once. A listener would take
			// one more: accept(2) takes a descriptor before it waits.
			d.Ask("listen udp 127.0.0.1:0", "open")
			files := d.Ask("files", "files")
			var errs int
			for limit := 3; ; limit++ {
				d.Ask(fmt.Sprintf("nofile %d", limit), "done")
				d.Tell(listen)
				event, text := d.Next()
				d.Ask("nofile 1000", "done")
				if event == "open" {
					break
				}
				errs++
				if event != "error" || !strings.Contains(text, "too many open files") || !strings.HasPrefix(text, listen) {
					t.Fatalf("%s: %s", event, text)
				}
				if now := d.Ask("files", "files"); now != files {
					t.Fatalf("%s descriptors after an error, %s before", now, files)
				}
				if names := d.Ask("names", "names"); strings.Count(names, "socket") != 1 {
					t.Fatalf("passed on: %q", names)
				}
			}
			if errs < 3 {
				t.Errorf("%d errors only", errs)
			}
		})
	}
}

// A handover that cannot be from this process is ignored, and sockets are opened anew.
func TestForeignHandoverIsIgnored(t *testing.T) {
	for _, value := range []string{"pid=1,file=5,manifest=6,", "pid=", "!"} {
		t.Run(value, func(t *testing.T) {
			d := Start(t, "echo", "AUTORESTART_HANDOVER="+value)
			wantEcho(t, "tcp", d.Ask("listen tcp 127.0.0.1:0", "open"), 0)
			d.Restart()
			d.WantLogged("ignored the handover in the environment: this version starts afresh")
		})
	}
}

func TestListenConfigApplies(t *testing.T) {
	refused := errors.New("refused")
	calls := 0
	c := sockets.Config{ListenConfig: net.ListenConfig{Control: func(network, _ string, _ syscall.RawConn) error {
		calls++
		if network == "udp4" {
			return refused
		}
		return nil
	}}}
	ln, err := c.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil || calls != 1 {
		t.Fatalf("%v, called %d times", err, calls)
	}
	ln.Close()
	if conn, err := c.ListenPacket(t.Context(), "udp", "127.0.0.1:0"); !errors.Is(err, refused) {
		t.Errorf("%v, %v", conn, err)
	}
}

// TestServerSurvivesExhaustedDescriptors: while there is no descriptor for a connection,
// newcomers wait in the kernel, and one line is logged.
func TestServerSurvivesExhaustedDescriptors(t *testing.T) {
	d := Start(t, "echo")
	address := d.Ask("listen tcp 127.0.0.1:0", "open")
	wantEcho(t, "tcp", address, 0)
	d.Ask("nofile 0", "done")
	var conns []net.Conn
	for range 5 {
		conn := dial(t, "tcp", address)
		send(t, conn, "hello")
		conns = append(conns, conn)
	}
	d.Ask("log", "done")
	d.WantLogged("new connections wait until descriptors are free")
	if err := conns[0].SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := conns[0].Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v without a descriptor for the connection", n, err)
	}
	d.Ask("nofile 1000", "done")
	for _, conn := range conns {
		conn.SetReadDeadline(time.Time{})
		want(t, conn, "0 hello")
		conn.Close()
	}
	if n := strings.Count(d.Log(), "new connections wait until descriptors are free"); n != 1 {
		t.Errorf("%d lines are logged for one shortage", n)
	}
	d.Restart()
	d.Ask("listen tcp 127.0.0.1:0", "open")
	wantEcho(t, "tcp", address, 1)
}
