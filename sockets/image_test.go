//go:build unix

package sockets

import (
	"cmp"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Each image has its own sockets, and gets those of the one before.
func TestListenerCrossesToNextImage(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	first := listen(t, "127.0.0.1:0")
	waiting, err := net.Dial("tcp", first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	p.Restart(nil)
	second := listen(t, "127.0.0.1:0")
	if first.Addr().String() != second.Addr().String() {
		t.Fatalf("the next image listens at %s, the first one at %s", second.Addr(), first.Addr())
	}
	autorestart.Ready()
	accepted := acceptConn(t, second)
	if got, want := accepted.RemoteAddr().String(), waiting.LocalAddr().String(); got != want {
		t.Errorf("accepted %s, want %s", got, want)
	}
	second.Close()
	if keys := currentRegistry().inheritedKeys(); len(keys) > 0 {
		t.Errorf("closed, it is still passed on: %v", keys)
	}
}

// reusePort opens listeners of which several can have one address.
var reusePort = Config{ListenConfig: net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
	const soReusePort = 15
	return cmp.Or(c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
	}), err)
}}}

// beginRetirement has an image that opens one of the two sockets of the image before. Each client
// is accepted by one of them.
func beginRetirement(t *testing.T, p *imagetest.Process) net.Listener {
	t.Helper()
	open := func(address string) net.Listener {
		l, err := reusePort.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	address := open("127.0.0.1:0").Addr().String()
	open(address)
	p.AwaitExec(func() error { return new(autorestart.Restarter).Restart(t.Context()) })
	l := open(address)
	autorestart.Ready()
	return l
}

// A retired socket of which a stand-in has a copy stays open there. Clients of it are taken over for
// as long as the stand-in is there.
func TestRetirementWaitsForStandIn(t *testing.T) {
	p := imagetest.Start(t)
	l := beginRetirement(t, p)
	beside := &image.Current().Beside
	beside.SetPresent(true)
	const clients = 30
	connected := make(chan error, clients)
	for range clients {
		go func() {
			conn, err := net.Dial("tcp", l.Addr().String())
			if err == nil {
				defer conn.Close()
			}
			connected <- err
		}()
		wantResult(t, accept(l), nil)
	}
	for range clients {
		wantResult(t, connected, nil)
	}
	if n := len(currentRegistry().inheritedKeys()); n != 2 {
		t.Errorf("%d sockets are left, want 2", n)
	}
	beside.SetPresent(false)
	testprocess.WaitFor(t, "end of the unclaimed socket", func() bool { return len(currentRegistry().inheritedKeys()) == 1 })
}

// A retirement that an exec has interrupted begins again: the socket stays for the whole time, so
// that a handshake of a distant client can end.
func TestRetirementBeginsAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two seconds")
	}
	p := imagetest.Start(t)
	beginRetirement(t, p)
	p.Failure = errors.New("no exec")
	for start := time.Now(); time.Since(start) < retireTime*5/4; {
		before := time.Now()
		if err := new(autorestart.Restarter).Restart(t.Context()); !errors.Is(err, p.Failure) {
			t.Fatal(err)
		}
		n := len(currentRegistry().inheritedKeys())
		if since := time.Since(before); n != 2 && since < retireTime/2 {
			t.Fatalf("%d sockets are left %v after an exec that has failed, want 2", n, since)
		}
	}
	testprocess.WaitFor(t, "end of the unclaimed socket", func() bool { return len(currentRegistry().inheritedKeys()) == 1 })
}
