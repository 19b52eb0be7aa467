package sockets

import (
	"errors"
	"net"
	"strings"
	"testing"
)

// What a drain waits for says how many connections are hijacked, until they are closed. A report
// that comes twice, or for a connection that is closed, counts nothing.
func TestHijackedConnectionsAreCounted(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	first, second, third := connect(t, l), connect(t, l), connect(t, l)
	want := func(text string) {
		t.Helper()
		if got := (listenerDrainer{l}).Unfinished(); !strings.HasPrefix(got, text) || strings.Contains(got, "(") != strings.Contains(text, "(") {
			t.Errorf("%q, expected %q", got, text)
		}
	}
	of := " of tcp " + l.Addr().String()
	want("3 connections" + of)
	httpConn{first.stream}.Hijacked()
	httpConn{first.stream}.Hijacked()
	httpConn{second.stream}.Hijacked()
	want("3 connections" + of + " (2 hijacked)")
	first.Close()
	first.Close()
	httpConn{first.stream}.Hijacked()
	want("2 connections" + of + " (1 hijacked)")
	second.Close()
	want("1 connection" + of)
	httpConn{third.stream}.Hijacked()
	want("1 connection" + of + " (1 hijacked)")
	third.Close()
	want("")
}

// A hijacked connection is closed at once: no response of net/http is the last one on it.
func TestHijackedConnectionIsNotHalfClosed(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	conn := connect(t, l)
	httpConn{conn.stream}.SetHalfClose() // the drain began before the request
	httpConn{conn.stream}.Hijacked()
	conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing > 0 {
		t.Error("the connection waits for its client")
	}
	if _, err := conn.socket.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, expected %v", err, net.ErrClosed)
	}
}
