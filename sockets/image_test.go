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
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Each image has its own sockets, and gets those of the one before.
func TestListenerCrossesToNextImage(t *testing.T) {
	p := imagetest.Start(t)
	first := listen(t, "127.0.0.1:0")
	waiting, err := net.Dial("tcp", first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	p.AwaitExec(func() error { return new(autorestart.Restarter).Restart(t.Context()) })
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

// A retirement that an exec has interrupted begins again: the socket stays for the whole time, so
// that a handshake of a distant client can end.
func TestRetirementBeginsAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two seconds")
	}
	p := imagetest.Start(t)
	listen := func(address string) net.Listener {
		l, err := reusePort.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	address := listen("127.0.0.1:0").Addr().String()
	listen(address)
	p.AwaitExec(func() error { return new(autorestart.Restarter).Restart(t.Context()) })
	listen(address)
	autorestart.Ready()
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
