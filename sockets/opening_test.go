package sockets

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/drain"
)

// beginDrain begins a drain, which ends at the latest with the test.
func beginDrain(t *testing.T) drain.Drained {
	t.Helper()
	if !hasExec {
		t.Skip("no exec on this system")
	}
	d, err := currentRegistry().Drainers.Begin(t.Context(), time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A socket that is opened right before the exec would be drained by nothing.
func TestOpeningEndsWithContextBeforeExec(t *testing.T) {
	d := beginDrain(t)
	defer d.Resume()
	d.Seal()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the program stops")
	cancel(cause)
	if ln, err := new(Config).Listen(ctx, "tcp", "127.0.0.1:0"); !errors.Is(err, cause) {
		t.Errorf("Listen: %v, %v", ln, err)
	}
	if conn, err := new(Config).ListenPacket(ctx, "udp", "127.0.0.1:0"); !errors.Is(err, cause) {
		t.Errorf("ListenPacket: %v, %v", conn, err)
	}
}

// A request that is under way may open a socket of its own: the drain waits for the request. The
// socket is quiesced.
func TestListenDuringDrain(t *testing.T) {
	d := beginDrain(t)
	l := listen(t, "127.0.0.1:0")
	result := accept(l)
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	if !held {
		t.Error("a listener of a drain is not quiesced")
	}
	d.Resume()
	wantResult(t, result, nil)
}

// A program closes its listener in a drain, and listens again before the restart is called
// off: the socket is there until then.
func TestListenAgainDuringDrainWaitsForItsEnd(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	d := beginDrain(t)
	l.Close()
	again := listenAfter(t, d, l.Addr().String())
	if again == nil {
		return
	}
	defer again.Close()
	result := accept(again)
	client, err := net.Dial("tcp", again.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	wantResult(t, result, nil)
}

// A version that is replaced while it starts claims nothing: what it claimed would be
// drained by nothing.
func TestNothingIsClaimedDuringDrain(t *testing.T) {
	listen(t, "127.0.0.1:0") // something to drain
	k := inheritListener(t)
	d := beginDrain(t)
	l := listenAfter(t, d, k.address)
	if l == nil {
		return
	}
	defer l.Close()
	if address := l.Addr().String(); address != k.local {
		t.Errorf("listens on %s, want %s", address, k.local)
	}
}

// listenAfter calls Listen in a drain, resumes, and returns the listener, unless Listen has
// failed. Listen must not return before the resume.
func listenAfter(t *testing.T, d drain.Drained, address string) net.Listener {
	t.Helper()
	listened := make(chan net.Listener, 1)
	go func() {
		l, err := Listen("tcp", address)
		if err != nil {
			t.Error(err)
		}
		listened <- l
	}()
	select {
	case <-listened:
		d.Resume()
		t.Fatal("Listen returned during the drain")
	case <-time.After(50 * time.Millisecond):
	}
	d.Resume()
	return <-listened
}

// inheritListener makes this process inherit a listener, for a call with port 0 and another
// address than any other test has.
func inheritListener(t *testing.T) key {
	t.Helper()
	if !hasExec {
		t.Skip("no exec on this system")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	k := key{kind: opened, network: "tcp", address: "127.0.0.1:00", local: ln.Addr().String()}
	if err := currentRegistry().passSocket(k, ln.(*net.TCPListener)); err != nil {
		t.Fatal(err)
	}
	unlock := currentRegistry().lock()
	currentRegistry().inherited = append(currentRegistry().inherited, k)
	unlock()
	return k
}
