//go:build linux

package sockets

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// die ends the first process, and has the second one notice. Its sockets stay as they are.
func die(first, second *image.Image) {
	for _, k := range (*registry)(image.Sockets.Of(first)).inheritedKeys() {
		first.Store.Unpass(k.passedName())
	}
	second.Beside.Lose()
}

// standIn returns a listener of a process that serves beside another one, which can die.
func standIn(t *testing.T, network, address string) (l *listener, loseMain func(), second *image.Image) {
	t.Helper()
	p := imagetest.Start(t)
	open := func() *listener {
		l, err := Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.(*listener)
	}
	main := open()
	first, second := image.Current(), p.StartBeside()
	second.Use()
	l = open()
	second.Drainers.Release()
	return l, func() {
		main.socket.Close()
		die(first, second)
	}, second
}

func dialAddress(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Cleanup(testprocess.LimitIO(conn, time.Minute))
	return conn
}

// The next process can listen at once. The clients in the queue are served here, and then Accept
// blocks until the listener is closed.
func TestStandInWithoutMainProcessFreesAddress(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "socket")
			}
			l, loseMain, second := standIn(t, network, address)
			before := accept(l) // is in the kernel
			dialAddress(t, l.Addr())
			wantResult(t, before, nil)
			var clients []net.Conn
			for range 3 {
				clients = append(clients, dialAddress(t, l.Addr()))
			}
			loseMain()
			next, err := net.Listen(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()
			second.Beside.SetLeaves()
			drained := make(chan error, 1)
			go func() {
				_, err := second.Drainers.Begin(t.Context(), time.Hour, nil)
				drained <- err
			}()
			testprocess.WaitFor(t, "drain", l.registry.isDraining)
			for i, client := range clients {
				conn, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(client, fmt.Sprint(i))
				b := make([]byte, 10)
				if n, err := conn.Read(b); string(b[:n]) != fmt.Sprint(i) {
					t.Errorf("client %d: read %q, %v", i, b[:n], err)
				}
				if len(drained) > 0 {
					t.Error("drained while a client is served")
				}
				conn.Close()
			}
			wantResult(t, drained, nil)
			late := accept(l)
			l.SetDeadline(time.Now())
			wantResult(t, late, os.ErrDeadlineExceeded)
			l.SetDeadline(time.Time{})
			late = accept(l)
			time.Sleep(20 * time.Millisecond)
			if len(late) > 0 {
				t.Errorf("Accept returns %v", <-late)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			wantResult(t, late, net.ErrClosed)
			conn := dialAddress(t, next.Addr()) // Close leaves the path of another listener
			conn.Close()
			if keys := l.registry.inheritedKeys(); len(keys) > 0 {
				t.Errorf("descriptors are left: %v", keys)
			}
		})
	}
}

// A listener in which callers of Accept are inside when the main process dies.
func TestAcceptBlocksInStandInWithoutMainProcess(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		t.Run(fmt.Sprintf("blocking=%v", blocking), func(t *testing.T) {
			l, loseMain, _ := standIn(t, "tcp", "127.0.0.1:0")
			if blocking {
				f, err := l.File()
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close() // a further descriptor keeps no address
				setNonblock(f, false)
			}
			result := accept(l)
			l.mu.Lock()
			for l.inside == 0 {
				l.wait(nil, time.Now().Add(time.Millisecond))
			}
			l.mu.Unlock()
			loseMain()
			next, err := net.Listen("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			next.Close()
			time.Sleep(20 * time.Millisecond)
			if len(result) > 0 {
				t.Errorf("Accept returns %v", <-result)
			}
			l.Close()
			wantResult(t, result, net.ErrClosed)
		})
	}
}

// A path at which the next process listens already stays.
func TestPathOfNextProcessStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	_, loseMain, _ := standIn(t, "unix", path)
	time.Sleep(20 * time.Millisecond) // a file system may reuse the inode, but not the time
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	loseMain()
	dialAddress(t, next.Addr()).Close()
}

// A process that serves no longer leaves the path of a socket that another process has.
func TestPathOfListenerBesideStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, _, _ := standIn(t, "unix", path)
	l.Close()
	dialAddress(t, l.Addr()).Close()
}

// A process that leaves has no copy of a listening socket. What it has not accepted goes to the
// other process, or is accepted here if there is none.
func TestListenerOfLeavingProcessIsClosed(t *testing.T) {
	b := startBesides(t)
	b.serve(imagetest.GiveTo(b.second))
	b.first.Beside.SetLeaves()
	b.drain()
	b.to.Close()
	testprocess.WaitFor(t, "end of the other listener", func() bool { return len(b.to.registry.inheritedKeys()) == 0 })
	if conn, err := net.Dial("tcp", b.to.Addr().String()); err == nil {
		conn.Close()
		t.Error("connected to a listener that all have closed")
	}
}

// Half-closed connections cross no exec in a process that leaves: the drain waits for them.
func TestLeavingProcessWaitsForHalfClosedConnections(t *testing.T) {
	b := startBesides(t)
	b.serve(imagetest.GiveTo(b.second))
	client := dialListener(t, b.from)
	conn := acceptConn(t, b.from)
	httpConn{conn.stream}.SetHalfClose()
	conn.Close()
	b.first.Beside.SetLeaves()
	drained := make(chan error, 1)
	go func() {
		_, err := b.first.Drainers.Begin(t.Context(), time.Hour, nil)
		drained <- err
	}()
	testprocess.WaitFor(t, "drain", b.from.registry.isDraining)
	time.Sleep(20 * time.Millisecond)
	if left := len(b.from.allStreams()); len(drained) > 0 && left > 0 {
		t.Error("drained before the client has closed")
	}
	client.Close()
	wantResult(t, drained, nil)
	if n := len(b.from.allStreams()); n > 0 {
		t.Errorf("drained with %d half-closed connections", n)
	}
}

// A packet that is being handled is answered, and the address is free.
func TestPacketConnOfStandInWithoutMainProcess(t *testing.T) {
	p := imagetest.Start(t)
	open := func() *udpConn {
		conn, err := ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn.(*udpConn)
	}
	main := open()
	first, second := image.Current(), p.StartBeside()
	second.Use()
	conn := open()
	second.Drainers.Release()
	client := dialAddress(t, conn.LocalAddr())
	io.WriteString(client, "question")
	b := make([]byte, 100)
	n, addr, err := conn.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	main.socket.Close()
	lost := make(chan bool)
	go func() {
		defer close(lost)
		die(first, second)
	}()
	if _, err := conn.WriteTo(b[:n], addr); err != nil && !errors.Is(err, net.ErrClosed) { // too late on a busy machine
		t.Error(err)
	} else if err == nil {
		if n, err := client.Read(b); string(b[:n]) != "question" {
			t.Errorf("the client reads %q, %v", b[:n], err)
		}
	}
	read := make(chan error, 1)
	go func() {
		_, _, err := conn.ReadFrom(b)
		read <- err
	}()
	testprocess.Receive(t, "end", lost)
	next, err := net.ListenPacket("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	conn.SetReadDeadline(time.Now())
	wantResult(t, read, os.ErrDeadlineExceeded)
	conn.SetReadDeadline(time.Time{})
	go func() {
		_, _, err := conn.ReadFrom(b)
		read <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if len(read) > 0 {
		t.Errorf("ReadFrom returns %v", <-read)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	wantResult(t, read, net.ErrClosed)
}

// A listener takes over the clients of an unclaimed one at its address. The socket stays as it is:
// the other process has it, and may serve again.
func TestUnclaimedListenerOfProcessBeside(t *testing.T) {
	p := imagetest.Start(t)
	open := func(address string) net.Listener {
		l, err := reusePort.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	main := []net.Listener{open("127.0.0.1:0")}
	address := main[0].Addr().String()
	main = append(main, open(address))
	first, second := image.Current(), p.StartBeside()
	second.Use()
	l := open(address)
	second.Drainers.Release()
	second.Store.CloseUnclaimed()
	first.Beside.SetServes(true)
	d, err := first.Drainers.Begin(t.Context(), time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	const clients = 30
	for range clients {
		dialAddress(t, l.Addr())
		wantResult(t, accept(l), nil)
	}
	second.Beside.SetLeaves()
	if _, err := second.Drainers.Begin(t.Context(), time.Minute, nil); err != nil {
		t.Fatal(err)
	}
	d.Resume()
	first.Beside.SetServes(false)
	accepted := make(chan bool)
	for _, l := range main {
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Close()
				accepted <- true
			}
		}()
	}
	for range clients {
		dialAddress(t, l.Addr())
		testprocess.Receive(t, "accepted client", accepted)
	}
}
