package sockets

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart"
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

// newHeldListener returns a listener that is brought to rest.
func newHeldListener(t *testing.T) *listener {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	restingListener{l}.Quiesce()
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
	select {
	case err := <-result:
		if !errors.Is(err, want) {
			t.Errorf("%v, expected %v", err, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("nothing for a long time, expected %v", want)
	}
}

func TestUserDeadlineWhileHeld(t *testing.T) {
	l := newHeldListener(t)
	result := accept(l)
	l.SetDeadline(time.Now().Add(20 * time.Millisecond))
	wantResult(t, result, os.ErrDeadlineExceeded)
	wantResult(t, accept(l), os.ErrDeadlineExceeded)

	// It stays in force.
	restingListener{l}.Resume()
	wantResult(t, accept(l), os.ErrDeadlineExceeded)
	l.SetDeadline(time.Time{})
	result = accept(l)
	if _, err := net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	wantResult(t, result, nil)
}

func TestCloseWhileHeld(t *testing.T) {
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
	restingListener{l}.Resume()
	again, err := Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestDrainWaitsForConnections(t *testing.T) {
	l := restingListener{listen(t, "127.0.0.1:0")}
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

// One that rests is not waited for, so that nothing is counted when it is closed:
// http.Server.Shutdown does that.
func TestRestingConnectionIsClosed(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	connect(t, l) // is at work
	idle := connect(t, l)
	idle.AtBoundary(true)
	closed := make(chan bool)
	idle.s.waits = func(n int) {
		if n < 0 {
			<-closed // the reader is late to notice
		}
		idle.s.resting(n)
	}
	read := make(chan error, 1)
	go func() {
		_, err := idle.Read(make([]byte, 10))
		read <- err
	}()
	restingListener{l}.Quiesce()
	open := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.open
	}
	if err := l.await(t.Context(), func() bool { return l.open == 1 }); err != nil {
		t.Fatal(err)
	}
	idle.Close()
	if n := open(); n != 1 {
		t.Errorf("%d connections are counted when one is at work and one that rests is closed", n)
	}
	close(closed)
	wantResult(t, read, net.ErrClosed)
	if n := open(); n != 1 {
		t.Errorf("%d connections are counted when one is at work", n)
	}
	restingListener{l}.Resume()
}

// TestDeadlineOfClosedConnection: what lingers has one of its own.
func TestDeadlineOfClosedConnection(t *testing.T) {
	conn := connect(t, listen(t, "127.0.0.1:0"))
	conn.Linger()
	conn.Close()
	for _, set := range []func(time.Time) error{conn.SetReadDeadline, conn.SetDeadline} {
		if err := set(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, expected %v", err, net.ErrClosed)
		}
	}
}

// Two listeners had one address, one after the other.
func TestConnectionsOfTwoListenersCross(t *testing.T) {
	if !inheritance {
		t.Skip("nothing is inherited on this system")
	}
	before := len(autorestart.InheritedNames())
	var listeners []*listener
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	for range 2 {
		l := listen(t, address)
		conn := connect(t, l)
		conn.AtBoundary(true)
		go conn.Read(make([]byte, 10))
		l.Close()
		listeners = append(listeners, l)
	}
	for _, l := range listeners {
		restingListener{l}.Quiesce()
		if err := (restingListener{l}).Drain(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := len(autorestart.InheritedNames()) - before; n != 2 {
		t.Errorf("%d connections cross the exec, of 2", n)
	}
	for _, l := range listeners {
		restingListener{l}.Resume()
	}
}

// What package net offers for the bare types works for what embeds them.
func TestConnectionCanDoWhatItsTypeCan(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	go func() {
		if client, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			io.Copy(client, client)
			client.Close()
		}
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := conn.(io.ReaderFrom); !ok {
		t.Error("no sendfile")
	}
	if err := conn.(interface{ SetNoDelay(bool) error }).SetNoDelay(true); err != nil {
		t.Error(err)
	}
	io.WriteString(conn, "text")
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(conn); string(b) != "text" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestPacketsAreDoneWithWhenTheNextIsAskedFor(t *testing.T) {
	pc, err := ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	client, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn := pc.(*udpConn)
	p := restingPackets{conn.p}
	b := make([]byte, 10)
	oob := make([]byte, 10)
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() error{
		"Read":                 func() error { _, err := conn.Read(b); return err },
		"ReadFrom":             func() error { _, _, err := conn.ReadFrom(b); return err },
		"ReadFromUDP":          func() error { _, _, err := conn.ReadFromUDP(b); return err },
		"ReadFromUDPAddrPort":  func() error { _, _, err := conn.ReadFromUDPAddrPort(b); return err },
		"ReadMsgUDP":           func() error { _, _, _, _, err := conn.ReadMsgUDP(b, oob); return err },
		"ReadMsgUDPAddrPort":   func() error { _, _, _, _, err := conn.ReadMsgUDPAddrPort(b, oob); return err },
		"SyscallConn().Read()": func() error { return raw.Read(func(uintptr) bool { return true }) },
	} {
		t.Run(name, func(t *testing.T) {
			io.WriteString(client, "packet")
			if err := read(); err != nil {
				t.Fatal(err)
			}
			p.Quiesce()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			if err := p.Drain(ctx); err == nil {
				t.Error("did not wait for the packet that was handed out")
			}
			result := make(chan error, 1)
			go func() { result <- read() }()
			if err := p.Drain(context.Background()); err != nil {
				t.Error(err)
			}
			conn.SetReadDeadline(time.Now())
			wantResult(t, result, os.ErrDeadlineExceeded)
			conn.SetReadDeadline(time.Time{})
			io.WriteString(client, "packet")
			go func() { result <- read() }()
			p.Resume()
			wantResult(t, result, nil)
		})
	}
}

func TestGateTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{arm: func(time.Time) error { return nil }}
		g.hold()
		start := time.Now()
		g.setDeadline(start.Add(time.Second))
		entered := make(chan time.Duration)
		go func() {
			g.enter()
			entered <- time.Since(start)
		}()
		time.Sleep(time.Second / 2)
		g.setDeadline(start.Add(3 * time.Second))
		if after := <-entered; after != 3*time.Second {
			t.Errorf("waited for %v", after)
		}
	})
}

// A gate is shut when nobody inside can take anything any more.
func TestGateIsShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{arm: func(time.Time) error { return nil }}
		took := func() time.Duration {
			start := time.Now()
			g.shut()
			return time.Since(start)
		}
		epoch := g.enter()
		time.AfterFunc(shutPatience/2, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.leave(epoch, nil)
		})
		if d := took(); d != shutPatience/2 {
			t.Errorf("shut after %v, but somebody was inside for %v", d, shutPatience/2)
		}
		g.mu.Lock()
		g.release()
		g.mu.Unlock()
		g.enter()
		if d := took(); d != shutPatience {
			t.Errorf("waited for %v for somebody who stays inside, expected %v", d, shutPatience)
		}
	})
}
