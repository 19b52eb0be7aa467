//go:build unix

package sockets

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// working is a Drainer whose Drain waits until it is closed.
type working chan struct{}

func (w working) Quiesce() {}
func (w working) Resume()  {}
func (w working) Drain(ctx context.Context) error {
	select {
	case <-w:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var later = Config{DrainOrder: 10}

// beginStage returns when the first stage is quiesced. Its Drainer works until it is closed.
func beginStage(t *testing.T, ctx context.Context) (working, <-chan drain.Drained) {
	t.Helper()
	w := make(working)
	t.Cleanup(autorestart.RegisterDrainer(w))
	draining := autorestart.Draining()
	begun := make(chan drain.Drained, 1)
	go func() {
		d, _ := image.Current().Drainers.Begin(ctx, time.Hour, nil)
		begun <- d
	}()
	testprocess.Receive(t, "drain", draining)
	return w, begun
}

// A socket works until the drainers before it are drained.
func TestSocketWorksUntilItsTurn(t *testing.T) {
	imagetest.Start(t)
	ln, err := later.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	packets, err := later.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	w, begun := beginStage(t, t.Context())
	for range 3 { // a connection and a packet
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted := acceptConn(t, ln.(*listener))
		accepted.Close()
		conn.Close()
		sender, err := net.Dial("udp", packets.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(sender, "packet")
		if n, _, err := packets.ReadFrom(make([]byte, 10)); n != 6 || err != nil {
			t.Fatal(n, err)
		}
		sender.Close()
	}
	reading := make(chan bool)
	go func() { // the reader comes back, and waits for the next version
		packets.ReadFrom(make([]byte, 10))
		close(reading)
	}()
	close(w)
	d, _ := testprocess.Receive(t, "end of the drain", begun)
	conn, err := net.Dial("tcp", ln.Addr().String()) // it waits now
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := ln.Accept()
		accepted <- c
	}()
	testprocess.WaitFor(t, "newcomer", func() bool {
		l := ln.(*listener)
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.newcomers) == 1
	})
	if len(accepted) > 0 {
		t.Error("accepted after the drain")
	}
	d.Resume()
	c, _ := testprocess.Receive(t, "connection", accepted)
	c.Close()
	packets.Close()
	testprocess.Receive(t, "end of the reader", reading)
}

// A socket that the program closes before its turn crosses the exec. If the drain is called off
// instead, the socket is closed.
func TestSocketIsClosedBeforeItsTurn(t *testing.T) {
	for _, exec := range []bool{true, false} {
		p := imagetest.Start(t)
		ln, err := later.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := later.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses := [...]net.Addr{ln.Addr(), packets.LocalAddr()}
		closeAll := func() *net.TCPConn {
			ln.Close()
			packets.Close()
			conn, err := net.Dial("tcp", addresses[0].String())
			if err != nil {
				t.Fatalf("a client is refused before the exec: %v", err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn.(*net.TCPConn)
		}
		if !exec {
			ctx, cancel := context.WithCancel(t.Context())
			_, begun := beginStage(t, ctx)
			closeAll()
			cancel()
			testprocess.Receive(t, "end of the drain", begun)
			testprocess.WaitFor(t, "end of the socket", func() bool {
				conn, err := net.Dial("tcp", addresses[0].String())
				if err == nil {
					conn.Close()
				}
				return err != nil
			})
			if keys := currentRegistry().inheritedKeys(); len(keys) > 0 {
				t.Errorf("closed, they are still passed on: %v", keys)
			}
			continue
		}
		w := make(working)
		autorestart.RegisterDrainer(w)
		draining := autorestart.Draining()
		var waiting *net.TCPConn
		p.AwaitExec(func() error {
			go func() {
				<-draining
				waiting = closeAll()
				close(w)
			}()
			return new(autorestart.Restarter).Restart(t.Context())
		})
		next, err := later.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		nextPackets, err := later.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer nextPackets.Close()
		autorestart.Ready()
		if got := [...]net.Addr{next.Addr(), nextPackets.LocalAddr()}; got[0].String() != addresses[0].String() || got[1].String() != addresses[1].String() {
			t.Errorf("the next version has %v, want %v", got, addresses)
		}
		accepted := acceptConn(t, next.(*listener))
		if got, want := accepted.RemoteAddr().String(), waiting.LocalAddr().String(); got != want {
			t.Errorf("accepted %s, want %s", got, want)
		}
	}
}

// closing is a Drainer that closes something as soon as it is quiesced.
type closing struct{ closer io.Closer }

func (c closing) Quiesce()                    { c.closer.Close() }
func (c closing) Drain(context.Context) error { return nil }
func (c closing) Resume()                     {}

// A socket that is closed while the first drainers are quiesced crosses the exec, also if the channel
// of Draining has been open since before the drain.
func TestSocketIsClosedByAnotherDrainer(t *testing.T) {
	for name, config := range map[string]*Config{"same stage": {}, "later stage": &later} {
		t.Run(name, func(t *testing.T) {
			p := imagetest.Start(t)
			autorestart.Draining()
			ln := new(struct{ net.Listener })
			defer autorestart.RegisterDrainer(closing{ln})()
			var err error
			if ln.Listener, err = config.Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			address := ln.Addr().String()
			waiting, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer waiting.Close()
			p.AwaitExec(func() error { return new(autorestart.Restarter).Restart(t.Context()) })
			next, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()
			if next.Addr().String() != address {
				t.Fatalf("the next version listens at %s, want %s", next.Addr(), address)
			}
			autorestart.Ready()
			if got, want := acceptConn(t, next.(*listener)).RemoteAddr().String(), waiting.LocalAddr().String(); got != want {
				t.Errorf("accepted %s, want %s", got, want)
			}
		})
	}
}
