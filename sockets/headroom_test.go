//go:build linux

package sockets

import (
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// crowd has more clients connect to l than there are descriptors for, and accepts those that are
// accepted. The limit is such that 32 are free before.
func crowd(t *testing.T, l *listener) (accepted []net.Conn, lift func()) {
	t.Helper()
	for range 40 {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
	}
	lift = limitDescriptors(t, 32)
	descriptors.unchecked.Store(0)
	t.Cleanup(func() {
		lift()
		for _, conn := range accepted {
			conn.Close()
		}
		descriptors.look(listen(t, "127.0.0.1:0").socket)
	})
	for !descriptors.short.Load() {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, conn)
	}
	if free := 32 - len(accepted); free > 24 || free < 22 {
		t.Errorf("%d descriptors are free when no connection is accepted any more", free)
	}
	return accepted, lift
}

func TestAcceptLeavesDescriptors(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	accepted, lift := crowd(t, l)
	result := accept(l)
	select {
	case err := <-result:
		t.Fatalf("accepted another connection: %v", err)
	case <-time.After(3 * retryInterval):
	}
	accepted[0].Close()
	wantResult(t, result, nil)

	l.SetDeadline(time.Now().Add(retryInterval / 2))
	for range 2 {
		if err, _ := testprocess.Receive(t, "end of Accept", accept(l)); err != nil && !os.IsTimeout(err) {
			t.Error(err)
		}
	}
	l.SetDeadline(time.Time{})

	watch := testprocess.StartStopwatch()
	listenerDrainer{l}.Quiesce()
	if took := watch.Elapsed(); took > emptyTimeout/2 {
		t.Errorf("Quiesce waited for %v", took)
	}
	listenerDrainer{l}.Resume()
	lift() // another part of the program frees descriptors
	wantResult(t, accept(l), nil)
}

func TestCloseEndsWaitForDescriptors(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	crowd(t, l)
	ended := make(chan error, 2)
	for range cap(ended) {
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					ended <- err
					return
				}
				defer conn.Close()
			}
		}()
	}
	l.Close()
	for range cap(ended) {
		wantResult(t, ended, net.ErrClosed)
	}
}

// A limit that the program has lowered since is noticed when the table is full.
func TestAcceptNoticesLowerLimit(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	crowd(t, l)
	descriptors.short.Store(false)
	descriptors.unchecked.Store(1 << 20)
	descriptors.failed(&net.OpError{Err: os.NewSyscallError("accept", syscall.EMFILE)})
	if !descriptors.short.Load() || descriptors.unchecked.Load() != 0 {
		t.Error("not noticed")
	}
}

func BenchmarkAccept(b *testing.B) {
	for name, accept := range map[string]func(l *listener) (net.Conn, error){
		"net":     func(l *listener) (net.Conn, error) { return l.socket.Accept() },
		"sockets": (*listener).Accept,
	} {
		b.Run(name, func(b *testing.B) {
			ln, err := Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer ln.Close()
			address := ln.Addr().String()
			for b.Loop() {
				client, err := net.Dial("tcp", address)
				if err != nil {
					b.Fatal(err)
				}
				conn, err := accept(ln.(*listener))
				if err != nil {
					b.Fatal(err)
				}
				conn.Close()
				client.Close()
			}
		})
	}
}
