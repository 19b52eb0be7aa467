//go:build unix

package sockets

import (
	"cmp"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// acceptAll waits for connections to the listening socket conn, and returns those that are
// there, up to limit. They are blocking: only a listener makes connections of them that
// package net waits for. An error is that of the last attempt.
func acceptAll(conn syscall.RawConn, limit int) (fds []*sys.FD, err error) {
	wait := conn.Read(func(listening uintptr) bool {
		for len(fds) < limit {
			var fd *sys.FD
			if fd, err = acceptOne(int(listening)); err != nil {
				break
			}
			fds = append(fds, fd)
		}
		return len(fds) > 0 || err != syscall.EAGAIN
	})
	if err == syscall.EAGAIN {
		err = nil
	}
	return fds, cmp.Or(wait, err)
}

// stopListening has no process accept from the socket any more. Its address is free for another
// socket with SO_REUSEADDR, as package net opens them, also if there are further descriptors of
// it. It does nothing where a listening socket can't be shut down.
func stopListening(fd int) { syscall.Shutdown(fd, syscall.SHUT_RDWR) }

// acceptOne wraps accept(2).
func acceptOne(listening int) (*sys.FD, error) {
	// Not every Unix system has accept4(2).
	syscall.ForkLock.RLock()
	n, _, err := syscall.Accept(listening)
	if err == nil {
		syscall.CloseOnExec(n)
	}
	syscall.ForkLock.RUnlock()
	return sys.AboveStandard(n, err)
}
