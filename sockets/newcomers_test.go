//go:build linux

package sockets_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// newcomerCount is more than the queue of a listener holds: net.core.somaxconn is 4096
// unless it was changed.
const newcomerCount = 6000

// newcomers returns how many clients connect in one drain: as many as the environment
// demands, and as there are descriptors for.
func newcomers(t *testing.T) int {
	t.Helper()
	n := testprocess.FromEnv(t, "AUTORESTART_TEST_NEWCOMERS", newcomerCount)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	const others = 200
	if most := int(limit.Cur) - others; n > most {
		t.Logf("%d newcomers instead of %d: RLIMIT_NOFILE is %d", most, n, limit.Cur)
		n = most
	}
	return n
}

// dialAll connects n clients, 10,000 a second at most, each of which asks at once. None may
// be refused.
func dialAll(t *testing.T, network, address string, n int) (conns []net.Conn) {
	t.Helper()
	const dialers, atOnce, interval = 8, 8, 6400 * time.Microsecond
	conns = make([]net.Conn, n)
	t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	})
	var once sync.Once
	var failed error
	var wg sync.WaitGroup
	// A client that meets a full queue repeats its SYN after a second, and then at longer
	// intervals.
	ctx, stop := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	defer stop()
	for first := range dialers {
		wg.Go(func() {
			pace := time.NewTicker(interval)
			defer pace.Stop()
			for i := first; i < n; i += dialers {
				if i/dialers%atOnce == 0 {
					<-pace.C
				}
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				if err == nil {
					conns[i] = conn
					_, err = fmt.Fprint(conn, i)
				}
				if err != nil {
					once.Do(func() { failed = fmt.Errorf("newcomer %d of %d: %w", i, n, err) })
					return
				}
			}
		})
	}
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
	return conns
}

// wantAnswers checks that each client gets its answer from the given generation.
func wantAnswers(t *testing.T, conns []net.Conn, generation int) {
	t.Helper()
	b := make([]byte, 100)
	for i, conn := range conns {
		defer testprocess.LimitIO(conn, time.Minute)()
		n, err := conn.Read(b)
		if want := fmt.Sprintf("%d %d", generation, i); string(b[:n]) != want || err != nil {
			t.Fatalf("newcomer %d of %d: %q, %v; expected %q", i, len(conns), b[:n], err, want)
		}
		conn.Close()
	}
}

// A busyDaemon has one connection open, for which a restart waits, and says when it is
// quiesced.
func busyDaemon(t *testing.T, listen, network string) (d *Daemon, address string, busy net.Conn) {
	t.Helper()
	d = Start(t, "echo")
	d.Ask("announce-drain", "done")
	address = d.Ask(listen, "open")
	busy = dial(t, network, address)
	send(t, busy, "stay")
	want(t, busy, "staying")
	return d, address, busy
}

func listenOn(t *testing.T, network string) (listen string) {
	if network == "tcp" {
		return "listen tcp 127.0.0.1:0"
	}
	return "listen " + network + " " + filepath.Join(t.TempDir(), "socket")
}

// TestNoNewcomerIsRefused: more clients connect during one drain than fit in the queue of
// the listener.
func TestNoNewcomerIsRefused(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			listen := listenOn(t, network)
			d, address, busy := busyDaemon(t, listen, network)
			d.Tell("restart-within 5m")
			d.Want("quiesced")
			start := time.Now()
			conns := dialAll(t, network, address, newcomers(t))
			t.Logf("%d newcomers connected within %v", len(conns), time.Since(start))
			start = time.Now()
			busy.Close()
			d.NextStart()
			d.Ask(listen, "open")
			d.Ask("ready", "done")
			wantAnswers(t, conns, 1)
			t.Logf("all answered after %v", time.Since(start))
		})
	}
}

// A program may close its listeners when a drain begins.
func TestNewcomersOfClosedListenerCross(t *testing.T) {
	listen := listenOn(t, "unix")
	d, address, busy := busyDaemon(t, listen, "unix")
	d.Tell("restart-within 5m")
	d.Want("quiesced")
	d.Ask("close 0", "closed")
	conns := dialAll(t, "unix", address, newcomerCount)
	busy.Close()
	d.NextStart()
	d.Ask(listen, "open")
	d.Ask("ready", "done")
	wantAnswers(t, conns, 1)
}

// TestNewcomersWhenRestartIsCalledOff: the version that goes on running answers.
func TestNewcomersWhenRestartIsCalledOff(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			d := Start(t, "echo")
			address := d.Ask(listenOn(t, network), "open")
			d.Ask("restart-off", "before")
			conns := dialAll(t, network, address, newcomerCount)
			d.Ask("continue", "off")
			wantAnswers(t, conns, 0)
			wantEcho(t, network, address, 0)
		})
	}
}

// A listener that was closed during a restart that is called off closes its newcomers, as
// the kernel does with those in its queue.
func TestNewcomersOfClosedListenerAreClosed(t *testing.T) {
	d := Start(t, "echo")
	address := d.Ask(listenOn(t, "unix"), "open")
	d.Ask("restart-off close", "before")
	conns := dialAll(t, "unix", address, 10)
	d.Ask("continue", "off")
	for _, conn := range conns {
		defer testprocess.LimitIO(conn, time.Minute)()
		if n, err := conn.Read(make([]byte, 10)); err == nil || n > 0 || errors.Is(err, syscall.EAGAIN) {
			t.Fatalf("read %d bytes, %v; expected the end", n, err)
		}
	}
	if names := d.Ask("names", "names"); names != "" {
		t.Errorf("passed on: %q", names)
	}
}

// TestNewcomersGoBack: a version that is rolled back has taken them over or not.
func TestNewcomersGoBack(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	for _, claims := range []bool{false, true} {
		t.Run(fmt.Sprintf("claimed=%v", claims), func(t *testing.T) {
			listen := listenOn(t, "unix")
			d, address, busy := busyDaemon(t, listen, "unix")
			d.Ask("trial", "done")
			d.Tell("restart-within 5m")
			d.Want("quiesced")
			conns := dialAll(t, "unix", address, 100)
			busy.Close()
			d.NextStart()
			if claims {
				d.Ask("claim "+address, "open") // and does not accept
			}
			d.Ask("fail", "start")
			d.Ask(listen, "open")
			wantAnswers(t, conns, 2)
		})
	}
}

// TestNewcomersWaitInQueueForOlderVersion: the version that a rollback executes does not know
// newcomers, and would close them.
func TestNewcomersWaitInQueueForOlderVersion(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	listen := listenOn(t, "unix")
	d := Start(t, "echo")
	address := d.Ask(listen, "open")
	d.Ask("trial", "done")
	d.Tell("restart")
	d.NextStart()
	d.Ask(listen, "open")
	d.Ask("announce-drain", "done")
	busy := dial(t, "unix", address)
	send(t, busy, "stay")
	want(t, busy, "staying")
	d.Ask("previous-is-older", "done")
	d.Tell("fail")
	d.Want("quiesced")
	conns := dialAll(t, "unix", address, 50)
	busy.Close()
	d.NextStart()
	if names := d.Ask("names", "names"); strings.Contains(names, "unread-connection") {
		t.Errorf("the previous version does not know what it gets back: %s", names)
	}
	d.Ask(listen, "open")
	wantAnswers(t, conns, 2)
}

func openDescriptors(d *Daemon) int {
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
	return len(files)
}

// TestNewcomersLeaveDescriptors: those that there is no descriptor for wait in the kernel.
func TestNewcomersLeaveDescriptors(t *testing.T) {
	listen := listenOn(t, "tcp")
	d, address, busy := busyDaemon(t, listen, "tcp")
	d.Ask("nofile 200", "done")
	d.Tell("restart-within 5m")
	d.Want("quiesced")
	conns := dialAll(t, "tcp", address, 400)
	WaitFor(t, "newcomers that were taken", func() bool { return openDescriptors(d) > 120 })
	if open := openDescriptors(d); open > 200-20 {
		t.Errorf("%d descriptors are open, of 200", open)
	}
	const line = "clients wait in the kernel's queue: descriptors or memory are short"
	d.WantLogged(line)
	busy.Close()
	d.NextStart()
	if n := strings.Count(d.Log(), line); n != 1 {
		t.Errorf("%d lines about the clients that wait in one drain", n)
	}
	d.Ask("nofile 1000", "done")
	d.Ask(listen, "open")
	d.Ask("ready", "done")
	wantAnswers(t, conns, 1)
}
