//go:build linux

package httpserve_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// A side is a process with a server. Two sides have the same listener.
type side struct {
	*image.Image
	t      *testing.T
	name   string // its answer
	drains drain.Drained
	logged atomic.Pointer[string] // by the server; the last line
}

// Write is called with what the server logs.
func (s *side) Write(b []byte) (int, error) {
	line := string(b)
	s.logged.Store(&line)
	return len(b), nil
}

// serveSides starts two sides, of which the first one serves.
func serveSides(t *testing.T) (address string, first, second *side) {
	t.Helper()
	p := imagetest.Start(t)
	first = &side{Image: image.Current(), t: t, name: "first"}
	address = first.listen(nil)
	second = &side{Image: p.StartBeside(), t: t, name: "second"}
	second.Use()
	second.listen(nil)
	first.Use()
	return address, first, second
}

// listen starts the server, whose handler receives twice from proceed if the path says so.
func (s *side) listen(proceed <-chan bool) (address string) {
	s.t.Helper()
	ln, err := sockets.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	serving := make(chan bool)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/wait" {
				<-proceed // the test knows that it runs
				<-proceed
			}
			io.WriteString(w, s.name)
		}),
		ErrorLog: log.New(s, "", 0),
		BaseContext: func(net.Listener) context.Context {
			close(serving)
			return context.Background()
		},
	}
	ended := make(chan bool)
	go func() {
		defer close(ended)
		httpserve.Serve(srv, ln)
	}()
	s.t.Cleanup(func() {
		srv.Close()
		<-ended
		if line := s.logged.Load(); line != nil {
			s.t.Errorf("the server of %s logs %q", s.name, *line)
		}
	})
	testprocess.Receive(s.t, "server", serving)
	return ln.Addr().String()
}

// handTo has the other side serve, to which this one gives its connections.
func (s *side) handTo(to *side) {
	s.t.Helper()
	to.Drainers.Release()
	if to.drains != nil {
		to.drains.Resume()
		to.Beside.SetGive(nil)
	}
	s.Beside.SetServes(true)
	s.Beside.SetGive(imagetest.GiveTo(to.Image))
	d, err := s.Drainers.Begin(s.t.Context(), time.Hour, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.drains = d
}

// wantNothing checks that the side has no connection that would cross an exec.
func (s *side) wantNothing() {
	s.t.Helper()
	if names := s.Store.Names(); len(names) != 1 {
		s.t.Errorf("%q are left, expected the listener", names)
	}
}

// No client of an idle connection notices that another process serves, whatever has come of the
// next request.
func TestIdleConnectionsAreServedBeside(t *testing.T) {
	const idle, rounds = 100, 8
	address, from, to := serveSides(t)
	clients := make([]*client, idle)
	for i := range clients {
		clients[i] = connect(t, address)
		if i%4 > 0 { // others are new
			clients[i].send(askGeneration)
			clients[i].want("first")
		}
	}
	for round := range rounds {
		for i, c := range clients {
			if i%2 > 0 {
				c.send(askGeneration[:begunLength(i, round)])
			}
		}
		from.handTo(to)
		from.wantNothing()
		for i, c := range clients {
			if i%2 > 0 {
				c.send(askGeneration[begunLength(i, round):])
			} else {
				c.send(askGeneration)
			}
		}
		for _, c := range clients {
			if c.want(to.name).Close {
				t.Error("the response says Connection: close")
			}
		}
		from, to = to, from
	}
}

// begunLength returns how much of a request was sent.
func begunLength(client, round int) int { return 1 + (client/2+7*round)%(len(askGeneration)-5) }

// A connection with a request is given when its response is there.
func TestBusyConnectionIsServedBesideAfterResponse(t *testing.T) {
	p := imagetest.Start(t)
	first := &side{Image: image.Current(), t: t, name: "first"}
	proceed := make(chan bool)
	address := first.listen(proceed)
	second := &side{Image: p.StartBeside(), t: t, name: "second"}
	second.Use()
	second.listen(nil)
	c := connect(t, address)
	fmt.Fprint(c, "GET /wait HTTP/1.1\r\nHost: example\r\n\r\n")
	proceed <- true
	drained := make(chan bool)
	go func() {
		defer close(drained)
		first.handTo(second)
	}()
	testprocess.Receive(t, "drain", first.Drainers.Draining())
	proceed <- true
	if c.want("first").Close {
		t.Error("the response says Connection: close")
	}
	testprocess.Receive(t, "end of the drain", drained)
	c.send(askGeneration)
	c.want("second")
	first.wantNothing()
}

// Where no process takes them, connections are closed when they are idle.
func TestConnectionsOfProcessThatLeavesAloneAreClosed(t *testing.T) {
	imagetest.Start(t)
	s := &side{Image: image.Current(), t: t, name: "alone"}
	proceed := make(chan bool)
	address := s.listen(proceed)
	idle, busy := connect(t, address), connect(t, address)
	idle.send(askGeneration)
	idle.want("alone")
	fmt.Fprint(busy, "GET /wait HTTP/1.1\r\nHost: example\r\n\r\n")
	proceed <- true
	s.Beside.SetServes(true)
	s.Beside.Lose()
	s.Beside.SetLeaves()
	ended := make(chan bool)
	go func() {
		defer close(ended)
		s.Drainers.Begin(t.Context(), time.Hour, nil)
	}()
	idle.wantEnd()
	idle.Close()
	select {
	case <-ended:
		t.Error("drained before the response is sent")
	default:
	}
	proceed <- true
	busy.want("alone")
	busy.wantEnd()
	busy.Close()
	testprocess.Receive(t, "end of the drain", ended)
}
