//go:build !autorestart_portable

package sockets

import (
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A socket that is about to be closed takes part in no new handshake: a client whose handshake
// ends in the last moment would be reset.
func TestRetiredSocketDropsSYN(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the kernel may take no filter of another user (EPERM)")
	}
	l := listen(t, "127.0.0.1:0")
	f, err := l.socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	withDescriptor(f, dropSYN)
	conn, err := net.DialTimeout("tcp", l.Addr().String(), 200*time.Millisecond) // the kernel asks again after a second
	if err == nil {
		conn.Close()
		protocol, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_PROTOCOL)
		t.Fatalf("a client is connected; the protocol is %d, %v", protocol, err)
	}
	withDescriptor(f, acceptSYN)
	conn, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
