package httpconn

import (
	"net"
	"strings"
	"testing"
)

type fakeListener struct {
	net.Listener
	_ [1]func() // a value that can't be compared
}

func (fakeListener) Addr() net.Addr { return &net.TCPAddr{Port: 80} }

func TestListenerHasOneServer(t *testing.T) {
	ln := new(fakeListener)
	release, err := Claim(ln)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(ln); err == nil || !strings.Contains(err.Error(), "the listener :80 is served already") {
		t.Errorf("second claim: %v", err)
	}
	if other, err := Claim(new(fakeListener)); err != nil {
		t.Errorf("another listener: %v", err)
	} else {
		other()
	}
	release()
	release, err = Claim(ln)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	release()
	for range 2 {
		if _, err := Claim(fakeListener{}); err != nil {
			t.Errorf("listener that can't be compared: %v", err)
		}
	}
}

// A program without package sockets has no such listeners.
func TestWithoutPackageSockets(t *testing.T) {
	if Of(nil) != nil || ListenerOf(new(fakeListener)) != nil || DrainOrder(new(fakeListener)) != 0 {
		t.Error("it is of package sockets")
	}
}
