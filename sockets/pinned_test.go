//go:build linux

package sockets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A slowGive is a Give that is under way until its answer is sent.
type slowGive struct {
	*besides
	conn   *tcpConn
	client net.Conn
	read   <-chan error
	answer chan func(image.Conn) error
	conns  chan image.Conn
}

// giveSlowly begins to give a connection, the beginning of a request included.
func giveSlowly(t *testing.T) *slowGive {
	t.Helper()
	g := &slowGive{
		besides: startBesides(t), answer: make(chan func(image.Conn) error), conns: make(chan image.Conn, 10),
	}
	g.client, g.conn, g.read = g.idle("begun, ")
	g.serve(func(c image.Conn) error {
		g.conns <- c
		return (<-g.answer)(c)
	})
	return g
}

// take has the connection taken.
func (g *slowGive) take() { g.answer <- imagetest.GiveTo(g.second) }

// fail has it not taken.
func (g *slowGive) fail(err error) { g.answer <- func(image.Conn) error { return err } }

// wantPinned checks that the reader waits and the client hears nothing.
func (g *slowGive) wantPinned() {
	g.t.Helper()
	time.Sleep(20 * time.Millisecond)
	if len(g.read) > 0 {
		g.t.Errorf("the reader of a connection that is being given has returned %v", <-g.read)
	}
	g.client.SetReadDeadline(time.Now())
	if n, err := g.client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		g.t.Errorf("the client reads %d bytes, %v", n, err)
	}
	g.client.SetReadDeadline(time.Time{})
}

// wantRead checks that the reader of this process gets what the client sends.
func (g *slowGive) wantRead() {
	g.t.Helper()
	io.WriteString(g.client, "rest")
	if err, _ := testprocess.Receive(g.t, "data", g.read); err != nil {
		g.t.Error(err)
	}
}

// underWay begins a drain and the Give in it. callOff ends the drain, which must not wait for
// the Give.
func (g *slowGive) underWay() (callOff func()) {
	g.t.Helper()
	ctx, cancel := context.WithCancel(g.t.Context())
	ended := make(chan bool)
	go func() {
		defer close(ended)
		if d, err := g.first.Drainers.Begin(ctx, time.Hour, nil); err == nil {
			d.Resume()
		}
	}()
	testprocess.Receive(g.t, "connection that is given", g.conns)
	return func() {
		g.t.Helper()
		cancel()
		testprocess.Receive(g.t, "end of the drain", ended)
	}
}

func TestResumeDuringGive(t *testing.T) {
	for _, taken := range []bool{false, true} {
		t.Run(fmt.Sprintf("taken=%v", taken), func(t *testing.T) {
			g := giveSlowly(t)
			callOff := g.underWay()
			callOff()
			g.wantPinned()
			if taken {
				g.take()
				wantGone(t, g.read)
				wantServed(t, g.to, g.client, "begun, ")
				wantConnections(t, g.first)
				return
			}
			g.fail(image.ErrNotTaken)
			g.wantRead()
			wantAnswered(t, g.conn, g.client, "")
			testprocess.WaitFor(t, "end of the passing", func() bool { return len(connectionsOf(g.first)) == 0 })
		})
	}
}

// A drain that begins while a connection of the last one is being given offers it again.
func TestDrainAgainDuringGive(t *testing.T) {
	g := giveSlowly(t)
	callOff := g.underWay()
	callOff()
	ended := make(chan error, 1)
	go func() {
		_, err := g.first.Drainers.Begin(t.Context(), time.Hour, nil)
		ended <- err
	}()
	testprocess.WaitFor(t, "drain", g.registry().isDraining)
	g.fail(image.ErrNotTaken)
	testprocess.Receive(t, "connection that is given again", g.conns)
	g.take()
	wantResult(t, ended, nil)
	wantGone(t, g.read)
	wantServed(t, g.to, g.client, "begun, ")
}

func (g *slowGive) registry() *registry { return g.from.registry }

func TestCloseDuringGive(t *testing.T) {
	for _, halfClose := range []bool{false, true} {
		for _, taken := range []bool{false, true} {
			t.Run(fmt.Sprintf("halfClose=%v taken=%v", halfClose, taken), func(t *testing.T) {
				g := giveSlowly(t)
				callOff := g.underWay()
				if halfClose {
					httpConn{g.conn.stream}.SetHalfClose()
				}
				if err := g.conn.Close(); err != nil {
					t.Error(err)
				}
				if err := g.conn.Close(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("second Close: %v", err)
				}
				g.wantPinned()
				if taken {
					g.take()
					wantGone(t, g.read)
					callOff()
					wantServed(t, g.to, g.client, "begun, ")
				} else {
					g.fail(image.ErrNotTaken)
					if n, err := g.client.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("the client reads %d bytes, %v, want the end", n, err)
					}
					g.client.Close()
					wantGone(t, g.read)
					callOff()
				}
				testprocess.WaitFor(t, "end of the stream", func() bool { return len(g.from.allStreams()) == 0 })
				wantConnections(t, g.first)
				if n := g.from.open; n != 0 {
					t.Errorf("%d connections are counted", n)
				}
			})
		}
	}
}

func TestDeadlineDuringGive(t *testing.T) {
	for _, taken := range []bool{false, true} {
		t.Run(fmt.Sprintf("taken=%v", taken), func(t *testing.T) {
			g := giveSlowly(t)
			callOff := g.underWay()
			g.conn.SetReadDeadline(time.Now())
			g.wantPinned()
			if taken {
				g.take()
				wantGone(t, g.read)
				wantServed(t, g.to, g.client, "begun, ")
			} else {
				g.fail(image.ErrNotTaken)
				wantResult(t, g.read, os.ErrDeadlineExceeded)
			}
			callOff()
		})
	}
}

// An exec waits for the answer: otherwise the next version and the other process might have the
// same connection.
func TestExecDuringGive(t *testing.T) {
	begin := func(g *slowGive) (sealed <-chan bool) {
		d, err := g.first.Drainers.Begin(t.Context(), time.Millisecond, nil) // its time ends first
		if err != nil {
			t.Fatal(err)
		}
		testprocess.Receive(t, "connection that is given", g.conns)
		result := make(chan bool)
		go func() {
			d.Seal()
			close(result)
		}()
		return result
	}
	t.Run("in time", func(t *testing.T) {
		g := giveSlowly(t)
		sealed := begin(g)
		g.wantPinned()
		g.take()
		testprocess.Receive(t, "end of Seal", sealed)
		wantConnections(t, g.first)
	})
	t.Run("too late", func(t *testing.T) {
		g := giveSlowly(t)
		sealed := begin(g)
		testprocess.Receive(t, "end of Seal", sealed)
		wantConnections(t, g.first)
		g.fail(image.ErrNotTaken) // the exec has failed
		testprocess.WaitFor(t, "passed connection", func() bool { return len(connectionsOf(g.first)) == 1 })
	})
}

// A newcomer that is being given is not accepted here before the answer, and crosses an exec.
func TestResumeDuringGiveOfNewcomer(t *testing.T) {
	g := giveSlowly(t)
	g.conn.Close()
	g.client = dialListener(t, g.from)
	g.first.Beside.SetServes(false)
	listenerDrainer{g.from}.Quiesce()
	testprocess.Receive(t, "connection that is given", g.conns)
	wantConnections(t, g.first, unread)
	accepted := make(chan net.Conn, 1)
	listenerDrainer{g.from}.Resume()
	go func() {
		conn, err := g.from.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	time.Sleep(20 * time.Millisecond)
	if len(accepted) > 0 {
		t.Fatal("accepted a connection that is being given")
	}
	g.fail(image.ErrNotTaken)
	conn, _ := testprocess.Receive(t, "connection", accepted)
	defer conn.Close()
	wantAnswered(t, conn, g.client, "")
}
