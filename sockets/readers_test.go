package sockets

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// handlers has goroutines that read packets and handle them for as long as a test wants.
type handlers struct {
	conn   net.PacketConn
	client net.Conn
	p      packetsDrainer
}

func newHandlers(t *testing.T) *handlers {
	conn, err := ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		client.Close()
	})
	return &handlers{conn, client, packetsDrainer{conn.(*udpConn).packets}}
}

// start has a goroutine read packets until the socket is closed. It tells of each, and handles
// it until it may go on.
func (h *handlers) start(buffer func() []byte) (packet <-chan struct{}, goOn chan<- struct{}) {
	read, handled := make(chan struct{}), make(chan struct{})
	go func() {
		for {
			if _, _, err := h.conn.ReadFrom(buffer()); err != nil {
				close(read)
				return
			}
			read <- struct{}{}
			<-handled
		}
	}()
	return read, handled
}

// awaitReaders waits until n readers are in the kernel.
func (h *handlers) awaitReaders(t *testing.T, n int) {
	t.Helper()
	testprocess.WaitFor(t, "reader", func() bool {
		h.p.mu.Lock()
		defer h.p.mu.Unlock()
		return h.p.inside == n
	})
}

func (h *handlers) send(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(h.client, "packet"); err != nil {
		t.Fatal(err)
	}
}

// drain reports whether the packets count as handled.
func (h *handlers) drain() error {
	ctx, cancel := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer cancel()
	return h.drainUntil(ctx)
}

// drainShortly does so while packets don't count as handled for being old.
func (h *handlers) drainShortly() error {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	return h.drainUntil(ctx)
}

func (h *handlers) drainUntil(ctx context.Context) error {
	h.p.Quiesce()
	defer h.p.Resume()
	return h.p.Drain(ctx)
}

func fixedBuffer() func() []byte {
	b := make([]byte, 100)
	return func() []byte { return b }
}

func freshBuffer() []byte { return make([]byte, 100) }

func TestReaderThatBeginsIsNotOneThatIsDone(t *testing.T) {
	for name, buffer := range map[string]func() func() []byte{
		"fixed buffers": fixedBuffer,
		"fresh buffers": func() func() []byte { return freshBuffer },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandlers(t)
			h.send(t)
			packet, goOn := h.start(buffer())
			<-packet
			begun := time.Now()
			h.start(buffer())
			h.awaitReaders(t, 1)
			if h.drainShortly() == nil && time.Since(begun) < doubtTime {
				t.Error("a drain did not wait for the first packet while another reader had come")
			}
			goOn <- struct{}{}
			h.awaitReaders(t, 2)
			if err := h.drain(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReaderThatComesBackFromAnErrorIsNotOneThatIsDone: a server looks at its own business between
// short deadlines, in one of its readers.
func TestReaderThatComesBackFromAnErrorIsNotOneThatIsDone(t *testing.T) {
	h := newHandlers(t)
	idle := make([]byte, 100)
	readIdle := func() error {
		_, _, err := h.conn.ReadFrom(idle)
		return err
	}
	h.conn.SetReadDeadline(time.Now())
	wantErrorIs(t, readIdle(), os.ErrDeadlineExceeded)
	h.conn.SetReadDeadline(time.Time{})
	h.send(t)
	packet, goOn := h.start(fixedBuffer())
	<-packet
	begun := time.Now()
	h.conn.SetReadDeadline(time.Now())
	for range 2 {
		wantErrorIs(t, readIdle(), os.ErrDeadlineExceeded)
	}
	h.conn.SetReadDeadline(time.Time{})
	if h.drainShortly() == nil && time.Since(begun) < doubtTime {
		t.Error("a drain did not wait for the packet while another reader had come back from an error")
	}
	goOn <- struct{}{}
	h.awaitReaders(t, 1)
	if err := h.drain(); err != nil {
		t.Error(err)
	}
}

func wantErrorIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

func TestPacketOfReaderThatDoesNotComeBack(t *testing.T) {
	h := newHandlers(t)
	for range 3 {
		h.send(t)
		read := make(chan error)
		go func() {
			_, _, err := h.conn.ReadFrom(freshBuffer())
			read <- err
		}()
		wantResult(t, read, nil)
	}
	last := make(chan error, 1)
	go func() {
		_, _, err := h.conn.ReadFrom(freshBuffer())
		last <- err
	}()
	h.awaitReaders(t, 1)
	if err := h.drain(); err != nil {
		t.Error(err)
	}
	h.conn.SetReadDeadline(time.Now())
	wantResult(t, last, os.ErrDeadlineExceeded)
}

// TestReaderWithTwoBuffers: after an error with one of them it comes with the other.
func TestReaderWithTwoBuffers(t *testing.T) {
	h := newHandlers(t)
	one, other := make([]byte, 100), make([]byte, 100)
	read := func(buffer []byte) error {
		_, _, err := h.conn.ReadFrom(buffer)
		return err
	}
	h.conn.SetReadDeadline(time.Now())
	wantErrorIs(t, read(one), os.ErrDeadlineExceeded)
	h.conn.SetReadDeadline(time.Time{})
	h.send(t)
	wantErrorIs(t, read(other), nil)
	last := make(chan error, 1)
	go func() { last <- read(one) }()
	h.awaitReaders(t, 1)
	if err := h.drain(); err != nil {
		t.Error(err)
	}
	h.conn.SetReadDeadline(time.Now())
	wantResult(t, last, os.ErrDeadlineExceeded)
}
