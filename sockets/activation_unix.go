//go:build unix

package sockets

import (
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/handover"
)

func init() {
	if autorestart.Generation() == 0 {
		takeActivated()
	}
}

// takeActivated takes over what systemd has passed, before anybody else finds it.
func takeActivated() {
	var a activation
	for i, value := range [...]*string{&a.pid, &a.fds, &a.names} {
		*value = os.Getenv(activationVars[i])
		os.Unsetenv(activationVars[i])
	}
	names, err := a.parse(os.Getpid())
	if err != nil {
		handover.Notice("ignored what the environment says of sockets from systemd", "reason", err)
	}
	// All are looked at before one is passed on: that opens descriptors.
	sockets := make(map[int]string)
	for i, name := range names {
		fd := firstActivated + i
		if _, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil {
			// Not closed: if the number is wrong, it is somebody else's.
			handover.Notice("ignored a descriptor from systemd", "fd", fd, "name", name, "reason", os.NewSyscallError("getsockopt", err))
			continue
		}
		syscall.CloseOnExec(fd)
		sockets[fd] = name
	}
	for fd, name := range sockets {
		if err := passActivated(fd, name); err != nil {
			handover.Notice("closed a socket from systemd", "fd", fd, "name", name, "reason", err)
		}
	}
}

// passActivated leaves the socket to whoever asks for it, in this image or a later
// one.
func passActivated(fd int, name string) error {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	network, local, err := describe(f)
	if err != nil {
		return err
	}
	k := key{kind: unasked, network: network, number: fd, local: local, name: name}
	return autorestart.Pass(k.String(), f)
}

var errNoKnownSocket = errors.New("neither TCP, UDP nor Unix")

func describe(f *os.File) (network, local string, err error) {
	var addr net.Addr
	if ln, err := net.FileListener(f); err == nil {
		addr = ln.Addr()
		ln.Close()
	} else if conn, err := net.FilePacketConn(f); err == nil {
		addr = conn.LocalAddr()
		conn.Close()
	}
	if addr == nil {
		return "", "", errNoKnownSocket
	}
	switch addr.(type) {
	case *net.TCPAddr, *net.UDPAddr, *net.UnixAddr:
		return addr.Network(), addr.String(), nil
	}
	return "", "", errNoKnownSocket
}
