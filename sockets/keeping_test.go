//go:build unix

package sockets

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// keepNew keeps the packets that begin with "new".
func keepNew(packet []byte, _ netip.AddrPort) bool { return strings.HasPrefix(string(packet), "new") }

// openKeeping opens a socket of the current image.
func openKeeping(t *testing.T, keep func([]byte, netip.AddrPort) bool, address string) *keepingConn {
	t.Helper()
	conn, err := (&Config{KeepPacket: keep}).ListenPacket(t.Context(), "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*keepingConn)
}

// sender returns a function that sends packets to conn from one socket, whose address it returns, too.
func sender(t *testing.T, conn net.PacketConn) (send func(text string), from netip.AddrPort) {
	t.Helper()
	client, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return func(text string) {
		t.Helper()
		if _, err := client.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}, client.LocalAddr().(*net.UDPAddr).AddrPort()
}

// readAll returns a channel with the packets that a goroutine reads from conn, until it is closed.
func readAll(conn net.PacketConn) <-chan string {
	packets := make(chan string, 100)
	go func() {
		defer close(packets)
		b := make([]byte, 2000)
		for {
			n, _, err := conn.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				packets <- err.Error()
				continue
			}
			packets <- string(b[:n])
		}
	}()
	return packets
}

func wantPacket(t *testing.T, packets <-chan string, want string) {
	t.Helper()
	if got, _ := testprocess.Receive(t, "packet "+want, packets); got != want {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// duringDrain has f called by a Drainer of the program, in each drain.
type duringDrain func()

func (duringDrain) Quiesce() {}
func (duringDrain) Resume()  {}
func (f duringDrain) Drain(context.Context) error {
	f()
	return nil
}

func restart(t *testing.T) func() error {
	return func() error { return new(autorestart.Restarter).Restart(t.Context()) }
}

// keptBy waits until n packets are kept.
func keptBy(t *testing.T, conn *keepingConn, n int) {
	t.Helper()
	testprocess.WaitFor(t, "packets that are kept", func() bool {
		conn.mu.Lock()
		defer conn.mu.Unlock()
		return len(conn.kept.list)+conn.kept.dropped == n
	})
}

// In a drain, the old version gets its packets, and the new one those that are for it, before those
// that have arrived later.
func TestKeptPacketsAreReadByNextVersion(t *testing.T) {
	for _, method := range []string{"Read", "ReadFrom", "ReadFromUDP", "ReadFromUDPAddrPort", "ReadMsgUDPAddrPort", "ReadMsgUDP"} {
		t.Run(method, func(t *testing.T) {
			p := imagetest.Start(t)
			conn := openKeeping(t, keepNew, "127.0.0.1:0")
			send, from := sender(t, conn)
			read := readAll(conn)
			autorestart.RegisterDrainer(duringDrain(func() {
				send("new 1")
				send("old 1")
				wantPacket(t, read, "old 1")
				send("new 2")
				send("old 2")
				wantPacket(t, read, "old 2")
			}))
			p.AwaitExec(restart(t))
			send("new 3")
			var next *udpConn
			if method == "ReadMsgUDP" { // without the option
				conn, err := ListenPacket("udp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				next = conn.(*udpConn)
			} else {
				next = openKeeping(t, keepNew, "127.0.0.1:0").udpConn
			}
			for _, want := range []string{"new 1", "new 2", "new 3"} {
				b := make([]byte, 100)
				n, sender, err := readBy(next, method, b)
				if got := string(b[:n]); got != want || err != nil {
					t.Fatalf("read %q, %v, want %q", got, err, want)
				}
				if sender.IsValid() && sender != from {
					t.Errorf("%q is from %v, want %v", want, sender, from)
				}
			}
			if names := image.Current().Store.Names(); len(names) != 1 {
				t.Errorf("passed on: %q", names)
			}
		})
	}
}

func readBy(c *udpConn, method string, b []byte) (n int, from netip.AddrPort, err error) {
	var addr net.Addr
	var udp *net.UDPAddr
	switch method {
	case "Read":
		n, err = c.Read(b)
	case "ReadFrom":
		n, addr, err = c.ReadFrom(b)
		udp, _ = addr.(*net.UDPAddr)
	case "ReadFromUDP":
		n, udp, err = c.ReadFromUDP(b)
	case "ReadFromUDPAddrPort":
		n, from, err = c.ReadFromUDPAddrPort(b)
	case "ReadMsgUDPAddrPort":
		n, _, _, from, err = c.ReadMsgUDPAddrPort(b, nil)
	case "ReadMsgUDP":
		n, _, _, udp, err = c.ReadMsgUDP(b, nil)
	}
	if udp != nil {
		from = udp.AddrPort()
	}
	return n, from, err
}

// If the restart is called off, this version reads what it has kept, also by a reader that is in the
// kernel at that moment.
func TestKeptPacketsAreReadAfterRestartIsCalledOff(t *testing.T) {
	for _, late := range []bool{false, true} {
		p := imagetest.Start(t)
		conn := openKeeping(t, keepNew, "127.0.0.1:0")
		send, _ := sender(t, conn)
		read := readAll(conn)
		autorestart.RegisterDrainer(duringDrain(func() {
			send("new")
			keptBy(t, conn, 1)
		}))
		calledOff := errors.New("called off")
		r := new(autorestart.Restarter)
		if late {
			p.Failure = calledOff // after the reading has ended
		} else {
			r.BeforeExec = func(context.Context, *autorestart.ExecPlan) error { return calledOff }
		}
		if err := r.Restart(t.Context()); !errors.Is(err, calledOff) {
			t.Fatal(err)
		}
		wantPacket(t, read, "new")
		send("new, and read at once")
		wantPacket(t, read, "new, and read at once")
		if names := image.Current().Store.Names(); len(names) != 1 {
			t.Errorf("passed on: %q", names)
		}
		if conn.spare != nil {
			t.Error("a descriptor is open")
		}
	}
}

// A version that is rolled back gives back what it has not read, and what it has kept itself.
func TestKeptPacketsGoBackInRollback(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	p := imagetest.Start(t)
	conn := openKeeping(t, keepNew, "127.0.0.1:0")
	send, _ := sender(t, conn)
	readAll(conn)
	unregister := autorestart.RegisterDrainer(duringDrain(func() {
		send("new 1")
		send("new 2")
		keptBy(t, conn, 2)
	}))
	defer unregister()
	p.AwaitExec(func() error { return (&autorestart.Restarter{ReadyTimeout: time.Hour}).Restart(t.Context()) })
	failing := openKeeping(t, keepNew, "127.0.0.1:0")
	b := make([]byte, 100)
	if n, _, err := failing.ReadFrom(b); string(b[:n]) != "new 1" || err != nil {
		t.Fatalf("read %q, %v", b[:n], err)
	}
	autorestart.RegisterDrainer(duringDrain(func() {
		read := readAll(failing)
		send("new 3")
		keptBy(t, failing, 2)
		if len(read) > 0 {
			t.Errorf("read %q", <-read)
		}
	}))
	p.AwaitExec(func() error { return autorestart.Rollback(errors.New("it fails")) })
	read := readAll(openKeeping(t, keepNew, "127.0.0.1:0"))
	wantPacket(t, read, "new 2")
	wantPacket(t, read, "new 3")
}

// Where another process reads, this one does not.
func TestKeepPacketHasNoEffectBesideServingProcess(t *testing.T) {
	imagetest.Start(t)
	conn := openKeeping(t, func([]byte, netip.AddrPort) bool {
		t.Error("KeepPacket is called")
		return false
	}, "127.0.0.1:0")
	read := readAll(conn)
	image.Current().Beside.SetServes(true)
	p := packetsDrainer{conn.packets}
	p.Quiesce()
	if err := p.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	send, _ := sender(t, conn)
	send("packet")
	conn.mu.Lock()
	if !conn.held || conn.inside > 0 {
		t.Error("it reads")
	}
	conn.mu.Unlock()
	p.Resume()
	wantPacket(t, read, "packet")
}

// Reads from a socket that the program has made blocking can't be interrupted before the exec.
func TestBlockingSocketDoesNotReadInDrain(t *testing.T) {
	imagetest.Start(t)
	conn := openKeeping(t, keepNew, "127.0.0.1:0")
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Fd()
	p := packetsDrainer{conn.packets}
	p.Quiesce()
	conn.mu.Lock()
	if !conn.held || conn.reading {
		t.Error("it reads")
	}
	conn.mu.Unlock()
	p.Resume()
}

// A socket that is closed in the drain crosses the exec, with what was kept.
func TestKeepingSocketClosedInDrainCrosses(t *testing.T) {
	p := imagetest.Start(t)
	conn := openKeeping(t, keepNew, "127.0.0.1:0")
	send, _ := sender(t, conn)
	read := readAll(conn)
	autorestart.RegisterDrainer(duringDrain(func() {
		send("new")
		keptBy(t, conn, 1)
		conn.Close()
		if _, open := testprocess.Receive(t, "end of the reader", read); open {
			t.Error("read from a closed socket")
		}
		send("in the kernel")
	}))
	p.AwaitExec(restart(t))
	next := openKeeping(t, keepNew, "127.0.0.1:0")
	if next.LocalAddr().String() != conn.LocalAddr().String() {
		t.Fatalf("opened %v, want %v", next.LocalAddr(), conn.LocalAddr())
	}
	read = readAll(next)
	wantPacket(t, read, "new")
	wantPacket(t, read, "in the kernel")
}

// If the restart is called off, a socket that was closed in the drain is gone.
func TestKeepingSocketClosedInDrainIsGoneAfterResume(t *testing.T) {
	imagetest.Start(t)
	conn := openKeeping(t, keepNew, "127.0.0.1:0")
	off := &autorestart.Restarter{BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
		conn.Close()
		return os.ErrInvalid
	}}
	if err := off.Restart(t.Context()); !errors.Is(err, os.ErrInvalid) {
		t.Fatal(err)
	}
	if names := image.Current().Store.Names(); len(names) > 0 {
		t.Errorf("passed on: %q", names)
	}
	if conn.spare != nil || conn.reading {
		t.Error("a part of the socket is left")
	}
}
