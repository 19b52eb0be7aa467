package sockets

import (
	"errors"
	"net"
	"testing"
	"time"
)

// A parked connection is not counted, so closing it must not change the count.
// http.Server.Shutdown closes such connections.
func TestClosingParkedConnectionChangesNoCount(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	connect(t, l) // counted as open
	idle := connect(t, l)
	httpConn{idle.stream}.BetweenRequests(true)
	closed := make(chan bool)
	idle.onWait = func(waits bool) {
		if !waits {
			<-closed // the reader notices late
		}
		idle.setParked(waits)
	}
	read := make(chan error, 1)
	go func() {
		_, err := idle.Read(make([]byte, 10))
		read <- err
	}()
	listenerDrainer{l}.Quiesce()
	open := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.open
	}
	if err := l.await(t.Context(), func() bool { return l.open == 1 }); err != nil {
		t.Fatal(err)
	}
	idle.Close()
	if n := open(); n != 1 {
		t.Errorf("%d connections are counted when one is open and a parked one is closed", n)
	}
	close(closed)
	wantResult(t, read, net.ErrClosed)
	if n := open(); n != 1 {
		t.Errorf("%d connections are counted when one is open", n)
	}
	listenerDrainer{l}.Resume()
}

// A half-closed connection has a deadline of its own, which the program must not change.
func TestHalfClosedConnectionTakesNoDeadline(t *testing.T) {
	conn := connect(t, listen(t, "127.0.0.1:0"))
	httpConn{conn.stream}.SetHalfClose()
	conn.Close()
	for _, set := range []func(time.Time) error{conn.SetReadDeadline, conn.SetDeadline} {
		if err := set(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, expected %v", err, net.ErrClosed)
		}
	}
}

// Two listeners have the same address, one after the other.
func TestParkedConnectionsOfTwoListenersArePassed(t *testing.T) {
	if !hasExec {
		t.Skip("no exec on this system")
	}
	before := len(currentRegistry().inheritedKeys())
	var listeners []*listener
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	for range 2 {
		l := listen(t, address)
		conn := connect(t, l)
		httpConn{conn.stream}.BetweenRequests(true)
		go conn.Read(make([]byte, 10))
		l.Close()
		listeners = append(listeners, l)
	}
	for _, l := range listeners {
		listenerDrainer{l}.Quiesce()
		if err := (listenerDrainer{l}).Drain(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := len(currentRegistry().inheritedKeys()) - before; n != 2 {
		t.Errorf("%d connections are passed, of 2", n)
	}
	for _, l := range listeners {
		listenerDrainer{l}.Resume()
	}
}
