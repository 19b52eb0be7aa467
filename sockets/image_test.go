//go:build unix

package sockets

import (
	"net"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
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
