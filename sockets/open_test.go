package sockets

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"unsafe"
)

// inheritWithout opens an inherited listener while the kernel has no room for it, for as many
// attempts.
func inheritWithout(ctx context.Context, k key, attempts int, whileShort func()) (listenerSocket, error) {
	o := opening{ctx: ctx, registry: currentRegistry()}
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
	newListener(currentRegistry(), s, k, k, new(Config)).Close()
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
	newListener(currentRegistry(), s, k, k, new(Config)).Close()
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
	newListener(currentRegistry(), s, k, k, new(Config)).Close()
}

// TestListenCopiesAddress: the address is often an argument of the program, which may write a
// title there.
func TestListenCopiesAddress(t *testing.T) {
	path := []byte(filepath.Join(t.TempDir(), "socket"))
	before := currentRegistry().Store.Names()
	ln, err := Listen("unix", unsafe.String(&path[0], len(path)))
	if err != nil {
		t.Fatal(err)
	}
	file, during := string(path), currentRegistry().Store.Names()
	for i := range path {
		path[i] = 'x'
	}
	if k := ln.(*listener).key; !slices.Contains(during, k.passedName()) {
		t.Errorf("the listener has the name %s, and is passed on as %q", k, during)
	}
	ln.Close()
	if after := currentRegistry().Store.Names(); !slices.Equal(after, before) {
		t.Errorf("closed, it is still passed on: %q", after)
	}
	if _, err := os.Lstat(file); err == nil {
		t.Error("closed, its path is still there")
	}
}
