package sockets

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
)

// inheritWithout opens an inherited listener while the kernel has no room for it, for as many
// attempts.
func inheritWithout(ctx context.Context, k key, attempts int, whileShort func()) (listenerSocket, error) {
	o := opening{ctx: ctx}
	defer o.end()
	s, _, _, err := open(&o, request{network: k.network, address: k.address}, source[listenerSocket]{
		listen: func() (listenerSocket, error) { return nil, errors.New("a new listener is opened") },
		fromFile: func(f *os.File, network string) (listenerSocket, error) {
			if attempts--; attempts < 0 {
				return fileListener(f, network)
			}
			whileShort()
			return nil, os.NewSyscallError("epoll_ctl", syscall.ENOSPC)
		},
		addr: listenerSocket.Addr,
	})
	return s, err
}

// The new version of a server must not end because descriptors or memory are short for a moment.
func TestInheritingWaitsWhileKernelIsShort(t *testing.T) {
	k := inheritListener(t)
	s, err := inheritWithout(t.Context(), k, 3, func() {})
	if err != nil {
		t.Fatal(err)
	}
	newListener(s, k, k, keepAlive{}).Close()
}

// The wait ends with the context, and the listener is there for the next call.
func TestInheritingEndsWithContext(t *testing.T) {
	k := inheritListener(t)
	ctx, cancel := context.WithCancel(t.Context())
	attempts := 0
	_, err := inheritWithout(ctx, k, 1<<30, func() {
		if attempts++; attempts == 2 {
			cancel()
		}
	})
	if !errors.Is(err, syscall.ENOSPC) || attempts != 2 {
		t.Errorf("%v after %d attempts", err, attempts)
	}
	s, err := inheritWithout(t.Context(), k, 0, func() {})
	if err != nil {
		t.Fatal(err)
	}
	newListener(s, k, k, keepAlive{}).Close()
}

// An error that does not pass for long is returned.
func TestInheritingDoesNotWaitForEver(t *testing.T) {
	k := inheritListener(t)
	if _, err := inheritWithout(t.Context(), k, 1<<30, func() {}); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	s, err := inheritWithout(t.Context(), k, 0, func() {})
	if err != nil {
		t.Fatal(err)
	}
	newListener(s, k, k, keepAlive{}).Close()
}
