//go:build linux

package systemdtest

import (
	"context"
	"fmt"
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
	if strings.HasPrefix(network, "unix") && !strings.HasPrefix(address, "@") {
		return new(net.Dialer).DialContext(ctx, network, s.Path(address))
	}
	// Package net makes the socket of an IP address on the thread of the caller.
	dialed := make(chan struct{})
	go func() {
		defer close(dialed)
		err = s.inNetwork(func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
	}()
	<-dialed
	return conn, err
}

// inNetwork calls a function on a thread in the network of the machine.
func (s *System) inNetwork(f func() error) error {
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	machines, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", s.PID()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(machines)
	runtime.LockOSThread()
	if err := unix.Setns(machines, unix.CLONE_NEWNET); err != nil {
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
