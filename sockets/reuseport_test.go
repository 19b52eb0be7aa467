//go:build linux && !autorestart_portable

package sockets_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/sockets"
)

// reusePort sets SO_REUSEPORT, which package syscall lacks on some architectures.
func reusePort(_, _ string, c syscall.RawConn) (err error) {
	const soReusePort = 15
	ctl := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1) })
	if ctl != nil {
		return ctl
	}
	return err
}

func init() {
	echoCommands["listen-reuse"] = func(arg string) { // number address
		number, address, _ := strings.Cut(arg, " ")
		config := sockets.Config{ListenConfig: net.ListenConfig{Control: reusePort}}
		for range Must(strconv.Atoi(number)) {
			go echoConnections(Must(config.Listen(context.Background(), "tcp", address)))
		}
		Say("open", address)
	}
}

// listening returns how many sockets listen on a port, and how many clients wait for them.
func listening(t *testing.T, port int) (sockets, waiting int) {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const listen = "0A"
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == listen {
			sockets++
			_, queue, _ := strings.Cut(fields[4], ":")
			waiting += int(Must(strconv.ParseInt(queue, 16, 64)))
		}
	}
	return sockets, waiting
}

// waitForTwo waits until two sockets listen on a port.
func waitForTwo(t *testing.T, port int) {
	t.Helper()
	WaitFor(t, "end of the unclaimed sockets", func() bool {
		n, _ := listening(t, port)
		return n == 2
	})
}

// freeAddr returns an address that nothing listens on.
func freeAddr(t *testing.T) *net.TCPAddr {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().(*net.TCPAddr)
}

// TestFewerReusePortSockets: the kernel spreads clients over the sockets of an address, also
// over those that the next version does not claim.
func TestFewerReusePortSockets(t *testing.T) {
	addr := freeAddr(t)
	d := Start(t, "echo")
	d.Ask("listen-reuse 4 "+addr.String(), "open")
	answers, stop := load(t, 16, askOnce("tcp", addr.String()))
	more := func(n int64) { moreThan(t, answers, n) }
	more(100)
	d.Restart()
	d.Ask("listen-reuse 2 "+addr.String(), "open")
	WaitFor(t, "clients of the other two", func() bool {
		_, waiting := listening(t, addr.Port)
		return waiting > 0 || t.Failed()
	})
	d.Ask("ready", "done")
	more(1000)
	waitForTwo(t, addr.Port)
	more(1000)
	stop()
	t.Logf("%d answers", answers.Load())
	d.Restart()
	d.Ask("listen-reuse 2 "+addr.String(), "open")
	d.Ask("ready", "done")
	wantEcho(t, "tcp", addr.String(), 2)
}

// moreThan waits for more than n answers.
func moreThan(t *testing.T, answers *atomic.Int64, n int64) {
	t.Helper()
	before := answers.Load()
	WaitFor(t, "answers", func() bool { return answers.Load() > before+n || t.Failed() })
}

// Another restart comes while clients of the unclaimed sockets are taken over.
func TestFewerReusePortSocketsAndAnotherRestart(t *testing.T) {
	addr := freeAddr(t)
	d := Start(t, "echo")
	d.Ask("listen-reuse 4 "+addr.String(), "open")
	answers, stop := load(t, 16, askOnce("tcp", addr.String()))
	for range 5 {
		moreThan(t, answers, 20)
		d.Restart()
		d.Ask("listen-reuse 2 "+addr.String(), "open")
		d.Ask("ready", "done")
	}
	waitForTwo(t, addr.Port)
	stop()
	t.Logf("%d answers", answers.Load())
}

// While the health of a version is watched, the previous one may need the sockets that are not
// claimed. Their clients are taken over all the same, and none is lost in a rollback.
func TestFewerReusePortSocketsRolledBack(t *testing.T) {
	addr := freeAddr(t)
	d := Start(t, "echo")
	d.Ask("health 1h", "done")
	d.Ask("listen-reuse 4 "+addr.String(), "open")
	answers, stop := load(t, 16, askOnce("tcp", addr.String()))
	more := func(n int64) { moreThan(t, answers, n) }
	more(100)
	d.Restart()
	d.Ask("listen-reuse 2 "+addr.String(), "open")
	d.Ask("ready", "done")
	more(1000)
	if n, _ := listening(t, addr.Port); n != 4 {
		t.Errorf("%d sockets listen during the trial, want 4", n)
	}
	d.Tell("fail")
	d.NextStart()
	d.Ask("listen-reuse 4 "+addr.String(), "open")
	more(1000)
	stop()
	if n, _ := listening(t, addr.Port); n != 4 {
		t.Errorf("%d sockets listen after the rollback, want 4", n)
	}
}

// When the version is healthy, the sockets are closed without a client being lost.
func TestFewerReusePortSocketsOfHealthyVersion(t *testing.T) {
	addr := freeAddr(t)
	d := Start(t, "echo")
	d.Ask("health 300ms", "done")
	d.Ask("listen-reuse 4 "+addr.String(), "open")
	answers, stop := load(t, 16, askOnce("tcp", addr.String()))
	more := func(n int64) { moreThan(t, answers, n) }
	more(100)
	d.Restart()
	d.Ask("listen-reuse 2 "+addr.String(), "open")
	d.Ask("ready", "done")
	waitForTwo(t, addr.Port)
	more(1000)
	stop()
}
