//go:build unix

package sockets

import (
	"net"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// takeAll waits until a quiesced listener has taken n newcomers.
func takeAll(t *testing.T, l *listener, n int) {
	t.Helper()
	testprocess.WaitFor(t, "connection in the taker", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.newcomers) == n
	})
}

func dialListener(t *testing.T, l *listener) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func acceptConn(t *testing.T, l *listener) *tcpConn {
	t.Helper()
	var conn net.Conn
	result := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		conn = c
		result <- err
	}()
	if err, _ := testprocess.Receive(t, "connection", result); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*tcpConn)
}

func option(t *testing.T, conn syscall.Conn, level, name int) (value int) {
	t.Helper()
	var err error
	ctl := withDescriptor(conn, func(fd int) { value, err = syscall.GetsockoptInt(fd, level, name) })
	if ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
	return value
}

// Newcomers are accepted in their order, before those that connect later, with the options
// that package net sets.
func TestNewcomersAreAcceptedFirst(t *testing.T) {
	l := newHeldListener(t)
	var clients []*net.TCPConn
	for n := range 3 {
		clients = append(clients, dialListener(t, l))
		takeAll(t, l, n+1)
	}
	listenerDrainer{l}.Resume()
	clients = append(clients, dialListener(t, l))
	var last *tcpConn
	for i, client := range clients {
		last = acceptConn(t, l)
		if got, want := last.RemoteAddr().String(), client.LocalAddr().String(); got != want {
			t.Errorf("connection %d is that of %s, expected %s", i, got, want)
		}
	}
	listenerDrainer{l}.Quiesce()
	dialListener(t, l)
	takeAll(t, l, 1)
	listenerDrainer{l}.Resume()
	newcomer := acceptConn(t, l)
	for _, o := range []struct{ level, name int }{
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY},
	} {
		got, want := option(t, newcomer, o.level, o.name), option(t, last, o.level, o.name)
		if got != want {
			t.Errorf("option %v is %d, of an accepted connection %d", o, got, want)
		}
	}
}

func TestNewcomerThatHasResetIsNotReturned(t *testing.T) {
	l := newHeldListener(t)
	gone := dialListener(t, l)
	takeAll(t, l, 1)
	gone.SetLinger(0)
	gone.Close()
	client := dialListener(t, l)
	takeAll(t, l, 2)
	listenerDrainer{l}.Resume()
	if got, want := acceptConn(t, l).RemoteAddr().String(), client.LocalAddr().String(); got != want {
		t.Errorf("connection of %s, expected %s", got, want)
	}
}

// Newcomers are in the store from the beginning, also those of a listener that is closed.
func TestNewcomersAreLent(t *testing.T) {
	before := len(currentRegistry().inheritedKeys())
	l := newHeldListener(t)
	for n := range 5 {
		dialListener(t, l)
		takeAll(t, l, n+1)
	}
	l.stopTaking()
	if n := len(currentRegistry().inheritedKeys()) - before; n != 5+1 {
		t.Errorf("%d sockets would cross, expected the listener and its newcomers, 6", n)
	}
	l.Close()
	takeAll(t, l, 5) // a listener that is closed during a restart crosses with them
	listenerDrainer{l}.Resume()
	takeAll(t, l, 0)
	if n := len(currentRegistry().inheritedKeys()) - before; n != 0 {
		t.Errorf("%d sockets of a closed listener would cross", n)
	}
}
