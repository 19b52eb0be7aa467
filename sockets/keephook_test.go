//go:build unix

package sockets

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// logged counts the lines with a text, until another test does.
func logged(t *testing.T, text string) *atomic.Int64 {
	n := new(atomic.Int64)
	report.SetLogger(testprocess.LogFunc(func(_, msg string) {
		if strings.Contains(msg, text) {
			n.Add(1)
		}
	}))
	return n
}

// A packet with which KeepPacket panics is kept, and that is logged once.
func TestKeepPacketPanics(t *testing.T) {
	p := imagetest.Start(t)
	lines := logged(t, "KeepPacket panicked")
	conn := openKeeping(t, func(packet []byte, _ netip.AddrPort) bool { return packet[100] == 0 }, "127.0.0.1:0")
	send, _ := sender(t, conn)
	readAll(conn)
	autorestart.RegisterDrainer(duringDrain(func() {
		send("new 1")
		send("new 2")
		keptBy(t, conn, 2)
	}))
	p.AwaitExec(restart(t))
	read := readAll(openKeeping(t, keepNew, "127.0.0.1:0"))
	wantPacket(t, read, "new 1")
	wantPacket(t, read, "new 2")
	testprocess.WaitFor(t, "log line", func() bool { return lines.Load() > 0 })
	if n := lines.Load(); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// An exec does not wait for a KeepPacket that blocks: its packet is kept. When KeepPacket returns, the
// packet is for the next version, whatever it returns.
func TestKeepPacketBlocks(t *testing.T) {
	for _, calledOff := range []bool{false, true} {
		p := imagetest.Start(t)
		called, goOn := make(chan bool), make(chan bool)
		conn := openKeeping(t, func(packet []byte, _ netip.AddrPort) bool {
			called <- true
			return <-goOn
		}, "127.0.0.1:0")
		send, _ := sender(t, conn)
		read := readAll(conn)
		autorestart.RegisterDrainer(duringDrain(func() {
			send("undecided")
			<-called
		}))
		if calledOff {
			p.Failure = errors.New("no exec")
			if err := restart(t)(); !errors.Is(err, p.Failure) {
				t.Fatal(err)
			}
			goOn <- false
		} else {
			p.AwaitExec(restart(t))
			goOn <- false
			next := readAll(openKeeping(t, keepNew, "127.0.0.1:0"))
			wantPacket(t, next, "undecided")
			send("another")
			wantPacket(t, next, "another")
			if len(read) > 0 {
				t.Errorf("the old version has read %q", <-read)
			}
			continue
		}
		wantPacket(t, read, "undecided")
		send("another")
		wantPacket(t, read, "another")
	}
}

// Packets beyond the limit are dropped, and one line has their number.
func TestTooManyKeptPackets(t *testing.T) {
	p := imagetest.Start(t)
	lines := logged(t, "dropped packets for the next version")
	conn := openKeeping(t, keepNew, "127.0.0.1:0")
	send, _ := sender(t, conn)
	readAll(conn)
	conn.kept.size = maxKeptBytes - 10
	autorestart.RegisterDrainer(duringDrain(func() {
		send("new 1")
		keptBy(t, conn, 1)
		send("new, and too long")
		keptBy(t, conn, 2)
		send("new, and too long, too")
		keptBy(t, conn, 3)
	}))
	p.AwaitExec(restart(t))
	read := readAll(openKeeping(t, keepNew, "127.0.0.1:0"))
	wantPacket(t, read, "new 1")
	send("another")
	wantPacket(t, read, "another")
	testprocess.WaitFor(t, "log line", func() bool { return lines.Load() > 0 })
	if n := lines.Load(); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// A packet that is longer than its reader's buffer is cut, as in every read.
func TestKeptPacketIsCutByBuffer(t *testing.T) {
	p := imagetest.Start(t)
	conn := openKeeping(t, keepNew, "127.0.0.1:0")
	send, _ := sender(t, conn)
	done := make(chan bool)
	autorestart.RegisterDrainer(duringDrain(func() {
		go func() {
			conn.ReadFrom(make([]byte, 5))
			close(done)
		}()
		send("new and long")
		keptBy(t, conn, 1)
	}))
	p.AwaitExec(restart(t))
	next := openKeeping(t, keepNew, "127.0.0.1:0")
	wantPacket(t, readAll(next), "new a")
	conn.Close()
	testprocess.Receive(t, "end of the reader", done)
}

// A reader's own deadline ends its wait, also while its packets are kept, and when packets wait.
func TestDeadlineWhilePacketsAreKept(t *testing.T) {
	imagetest.Start(t)
	conn := openKeeping(t, keepNew, "127.0.0.1:0")
	send, _ := sender(t, conn)
	result := make(chan error, 1)
	read := func() {
		go func() {
			_, _, err := conn.ReadFrom(make([]byte, 100))
			result <- err
		}()
	}
	autorestart.RegisterDrainer(duringDrain(func() {
		read()
		send("new")
		keptBy(t, conn, 1)
		conn.SetReadDeadline(time.Now())
		wantResult(t, result, os.ErrDeadlineExceeded)
		read()
		wantResult(t, result, os.ErrDeadlineExceeded)
	}))
	off := &autorestart.Restarter{BeforeExec: func(context.Context, *autorestart.ExecPlan) error { return os.ErrInvalid }}
	if err := off.Restart(t.Context()); !errors.Is(err, os.ErrInvalid) {
		t.Fatal(err)
	}
	read()
	wantResult(t, result, os.ErrDeadlineExceeded) // although a packet waits
	conn.SetReadDeadline(time.Time{})
	read()
	wantResult(t, result, nil)
}

func TestKeepPacketIsForUDP(t *testing.T) {
	c := Config{KeepPacket: keepNew}
	for _, network := range []string{"tcp", "unix", "unixpacket"} {
		if ln, err := c.Listen(t.Context(), network, "127.0.0.1:0"); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, %v", network, ln, err)
		}
	}
	if conn, err := c.ListenPacket(t.Context(), "unixgram", t.TempDir()+"/socket"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("unixgram: %v, %v", conn, err)
	}
}

// System calls of the caller would bypass KeepPacket, and they can't return what was kept.
func TestRawReadsOfKeptPackets(t *testing.T) {
	p := imagetest.Start(t)
	lines := logged(t, "packets that were kept for this version are lost")
	conn := openKeeping(t, keepNew, "127.0.0.1:0")
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(uintptr) bool { return true }); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if err := raw.Control(func(uintptr) {}); err != nil {
		t.Error(err)
	}
	send, _ := sender(t, conn)
	readAll(conn)
	autorestart.RegisterDrainer(duringDrain(func() {
		send("new")
		keptBy(t, conn, 1)
	}))
	p.AwaitExec(restart(t))
	next, err := ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	raw, err = next.(*udpConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(uintptr) bool { return true }); err != nil {
		t.Error(err)
	}
	testprocess.WaitFor(t, "log line", func() bool { return lines.Load() > 0 })
	send("another")
	wantPacket(t, readAll(next), "another")
}
