//go:build !autorestart_portable

package standin

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// newChannels returns both ends of a channel.
func newChannels(t *testing.T) (main, standIn *channel) {
	t.Helper()
	main, other, err := channelPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(main.close)
	// The stand-in does that when it has received the greeting.
	if err := unix.SetsockoptInt(other.Int(), unix.SOL_SOCKET, unix.SO_PASSCRED, 0); err != nil {
		t.Fatal(err)
	}
	if standIn, err = newChannel(other); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standIn.close)
	return main, standIn
}

// receiveText receives a message, with a limit.
func receiveText(t *testing.T, c *channel) (text string, fd int, err error) {
	t.Helper()
	stop := testprocess.LimitIO(c.file, testprocess.Timeout)
	defer stop()
	b := make([]byte, maxMessage)
	n, fd, err := c.receive(b)
	return string(b[:n]), fd, err
}

// What a process has sent before its end arrives, also if there is something that it has not
// received.
func TestLastMessageOfChannel(t *testing.T) {
	main, standIn := newChannels(t)
	if err := main.send([]byte("a signal"), -1); err != nil {
		t.Fatal(err)
	}
	if err := standIn.send([]byte("farewell"), -1); err != nil {
		t.Fatal(err)
	}
	standIn.close()
	if text, _, err := receiveText(t, main); text != "farewell" || err != nil {
		t.Errorf("received %q, %v", text, err)
	}
	if text, _, err := receiveText(t, main); err != io.EOF {
		t.Errorf("received %q, %v after the end", text, err)
	}
}

// A channel needs the runtime's poller.
func TestChannelWithoutPoller(t *testing.T) {
	file, err := sys.Duplicate(openFile(t))
	if err != nil {
		t.Fatal(err)
	}
	n := file.Int()
	if _, err := newChannel(file); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the error is %v", err)
	}
	if _, _, err := sys.Flags(n); err == nil {
		t.Error("the descriptor is open")
	}
}

// Package handover sends this message, before this package is initialised.
func TestStartedMessage(t *testing.T) {
	if handover.StandInStarted != string((&message{kind: started}).encode()) {
		t.Error("package handover sends another message")
	}
}

// A link works over a socket pair as over a simulated channel.
func TestLinkOverSocketPair(t *testing.T) {
	main, standIn := newChannels(t)
	var mu sync.Mutex
	var got []image.Conn
	other := newLink(standIn, func(c image.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, c)
		return len(c.State) > 0
	}, func(message) {})
	l := newLink(main, nil, func(message) {})
	go other.run()
	go l.run()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	state := bytes.Repeat([]byte("x"), 64<<10)
	if err := l.give(image.Conn{Key: "key", State: state, FD: int(w.Fd())}); err != nil {
		t.Fatal(err)
	}
	if err := l.give(image.Conn{Key: "key", FD: int(w.Fd())}); err != image.ErrNotTaken {
		t.Errorf("the second connection: %v", err)
	}
	w.Close()
	mu.Lock()
	defer mu.Unlock()
	if !bytes.Equal(got[0].State, state) || got[0].Key != "key" {
		t.Errorf("taken: %q with %d bytes", got[0].Key, len(got[0].State))
	}
	f := os.NewFile(uintptr(got[0].FD), "given")
	if closeOnExec, _, err := sys.Flags(got[0].FD); err != nil || !closeOnExec || got[0].FD < 3 {
		t.Errorf("descriptor %d, close-on-exec: %v, %v", got[0].FD, closeOnExec, err)
	}
	f.WriteString("text")
	f.Close() // the last one that is open for writing
	defer testprocess.LimitIO(r, testprocess.Timeout)()
	if b, err := io.ReadAll(r); string(b) != "text" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	standIn.close()
	testprocess.Receive(t, "end of the link", l.ended)
	if err := l.give(image.Conn{FD: int(r.Fd())}); err != image.ErrNotTaken {
		t.Errorf("after the end: %v", err)
	}
}

// A connection for whose descriptor there is no room stays with its giver.
func TestNoRoomForGiven(t *testing.T) {
	main, standIn := newChannels(t)
	other := newLink(standIn, func(image.Conn) bool {
		t.Error("a connection without a descriptor was offered")
		return false
	}, func(message) {})
	l := newLink(main, nil, func(message) {})
	go other.run()
	go l.run()
	fd := openFile(t)
	withoutRoom(t, func() {
		if err := l.give(image.Conn{Key: "key", FD: fd}); err != image.ErrNotTaken {
			t.Errorf("it was given: %v", err)
		}
	})
}

// A pause leaves messages in the channel, also those that come as it begins.
func TestPauseOfChannel(t *testing.T) {
	main, standIn := newChannels(t)
	received := make(chan uint64, 100)
	l := newLink(main, nil, func(m message) { received <- m.n })
	go l.run()
	sent := uint64(0)
	for range 20 {
		send := func() {
			sent++
			if err := standIn.send((&message{kind: pong, n: sent}).encode(), -1); err != nil {
				t.Fatal(err)
			}
		}
		send()
		resume := l.pause(time.Minute)
		before := len(received)
		send()
		time.Sleep(time.Millisecond)
		if len(received) != before {
			t.Error("a message was received during the pause")
		}
		resume()
	}
	for want := uint64(1); want <= sent; want++ {
		if n, _ := testprocess.Receive(t, "message", received); n != want {
			t.Fatalf("message %d has come as number %d", n, want)
		}
	}
}

// Close ends calls that wait.
func TestCloseOfChannel(t *testing.T) {
	main, _ := newChannels(t)
	ended := make(chan error, 2)
	go func() {
		_, _, err := main.receive(make([]byte, maxMessage))
		ended <- err
	}()
	go func() {
		for {
			if err := main.send(make([]byte, 4096), -1); err != nil {
				ended <- err
				return
			}
		}
	}()
	time.Sleep(10 * time.Millisecond)
	main.close()
	for range 2 {
		if err, _ := testprocess.Receive(t, "end of a call", ended); err == nil {
			t.Error("a call has succeeded")
		}
	}
}
