package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func listen(t *testing.T, address string) *listener {
	t.Helper()
	l, err := Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*listener)
}

// newHeldListener returns a quiesced listener.
func newHeldListener(t *testing.T) *listener {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	listenerDrainer{l}.Quiesce()
	return l
}

// connect returns the server's side of a new connection.
func connect(t *testing.T, l *listener) *tcpConn {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*tcpConn)
}

func accept(l net.Listener) <-chan error {
	result := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			conn.Close()
		}
		result <- err
	}()
	return result
}

func wantResult(t *testing.T, result <-chan error, want error) {
	t.Helper()
	if err, _ := testprocess.Receive(t, fmt.Sprintf("result, expected %v", want), result); !errors.Is(err, want) {
		t.Errorf("%v, expected %v", err, want)
	}
}

func TestDeadlineEndsWaitOfHeldListener(t *testing.T) {
	l := newHeldListener(t)
	result := accept(l)
	l.SetDeadline(time.Now().Add(20 * time.Millisecond))
	wantResult(t, result, os.ErrDeadlineExceeded)
	wantResult(t, accept(l), os.ErrDeadlineExceeded)

	// The deadline stays in force.
	listenerDrainer{l}.Resume()
	wantResult(t, accept(l), os.ErrDeadlineExceeded)
	l.SetDeadline(time.Time{})
	result = accept(l)
	if _, err := net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	wantResult(t, result, nil)
}

func TestCloseEndsWaitOfHeldListener(t *testing.T) {
	l := newHeldListener(t)
	result := accept(l)
	l.Close()
	wantResult(t, result, net.ErrClosed)
	wantResult(t, accept(l), net.ErrClosed)
	if err := l.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SetDeadline: %v", err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	listenerDrainer{l}.Resume()
	again, err := Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestDrainWaitsForConnections(t *testing.T) {
	l := listenerDrainer{listen(t, "127.0.0.1:0")}
	conn := connect(t, l.listener)
	l.Quiesce()
	ended := make(chan error, 1)
	go func() { ended <- l.Drain(context.Background()) }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := l.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain of an open connection: %v", err)
	}
	if len(ended) != 0 {
		t.Error("drained too early")
	}
	conn.Close()
	conn.Close() // counts once
	wantResult(t, ended, nil)
	if l.open != 0 {
		t.Errorf("%d connections are counted as open", l.open)
	}
	l.Resume()
}
