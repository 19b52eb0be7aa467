//go:build linux

package systemdtest

import (
	"context"
	"net"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Dial connects to an address in the machine: an IP address with a port, or a Unix socket.
func (s *System) Dial(network, address string) (net.Conn, error) {
	return s.DialContext(context.Background(), network, address)
}

// DialContext is Dial with a context, for [net/http.Transport].
func (s *System) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	return s.DialFrom(ctx, "1", network, address)
}

// DialFrom is DialContext in the network of a process of the machine, which may have one of its own.
func (s *System) DialFrom(ctx context.Context, pid, network, address string) (conn net.Conn, err error) {
	if strings.HasPrefix(network, "unix") && !strings.HasPrefix(address, "@") {
		return new(net.Dialer).DialContext(ctx, network, s.Path(address))
	}
	// Package net makes the socket of an IP address on the thread of the caller.
	dialed := make(chan struct{})
	go func() {
		defer close(dialed)
		err = inNetwork(s.Path("/proc/"+pid+"/ns/net"), func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
	}()
	<-dialed
	return conn, err
}

// inNetwork calls a function on a thread in a network namespace.
func inNetwork(namespace string, f func() error) error {
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	other, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(other)
	runtime.LockOSThread()
	if err := unix.Setns(other, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		return back // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}
