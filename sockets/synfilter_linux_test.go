//go:build !autorestart_portable

package sockets

import (
	"net"
	"os"
	"testing"
	"time"
)

// A socket that is about to be closed takes part in no new handshake: a client whose handshake
// ends in the last moment would be reset.
func TestRetiredSocketDropsSYN(t *testing.T) {
	for _, c := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"[::1]:0", "::1"},
		{":0", "127.0.0.1"},
		{":0", "::1"},
	} {
		t.Run(c.listen+" "+c.dial, func(t *testing.T) { testDropsSYN(t, dropSYN, c.listen, c.dial) })
		t.Run(c.listen+" "+c.dial+" without a filter", func(t *testing.T) { testDropsSYN(t, dropByTTL, c.listen, c.dial) })
	}
}

func testDropsSYN(t *testing.T, dropSYN func(int) func(int), listenAt, dialAt string) {
	if probe, err := net.Listen("tcp", net.JoinHostPort(dialAt, "0")); err != nil {
		t.Skip("the machine has no such address: ", err)
	} else {
		probe.Close()
	}
	l := listen(t, listenAt)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	address := net.JoinHostPort(dialAt, port)
	f, err := l.socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var undo func(int)
	withDescriptor(f, func(fd int) { undo = dropSYN(fd) })
	conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond) // the kernel asks again after a second
	if !os.IsTimeout(err) {
		if err == nil {
			conn.Close()
		}
		t.Fatalf("a client gets %v, want a timeout", err)
	}
	withDescriptor(f, undo)
	conn, err = net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
