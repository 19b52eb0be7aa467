package httpserve

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// A stopper ends a server as a program does.
type stopper struct {
	name    string
	stop    func(*http.Server) error
	answers bool // requests that are under way
}

var stoppers = []stopper{
	{"Shutdown", func(srv *http.Server) error {
		ctx, cancel := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
		defer cancel()
		return srv.Shutdown(ctx)
	}, true},
	{"Close", (*http.Server).Close, false},
}

// beginDrain begins a drain that may take as long as a test.
func beginDrain() <-chan drain.Drained {
	begun := make(chan drain.Drained, 1)
	go func() {
		d, err := image.Current().Drainers.Begin(context.Background(), time.Hour, nil)
		if err != nil {
			panic(err)
		}
		begun <- d
	}()
	return begun
}

// wantDrained waits for the end of a drain.
func wantDrained(t *testing.T, begun <-chan drain.Drained) drain.Drained {
	t.Helper()
	d, _ := testprocess.Receive(t, "end of the drain", begun)
	return d
}

// A server that the program has stopped before serves nothing, and no drain calls it.
func TestServeAfterStop(t *testing.T) {
	for _, stopper := range stoppers {
		imagetest.Start(t)
		srv := new(http.Server)
		if err := stopper.stop(srv); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			ln := mustListen(t)
			if err := Serve(srv, ln); err != http.ErrServerClosed {
				t.Errorf("after %s: %v", stopper.name, err)
			}
			wantRefused(t, ln.Addr())
		}
		d := wantDrained(t, beginDrain())
		if s := srv.Handler.(*server); s.drainingSince.Load() != nil {
			t.Error("the drain has called the server")
		}
		d.Resume()
	}
}

// wantRefused checks that nothing listens at an address.
func wantRefused(t *testing.T, address net.Addr) {
	t.Helper()
	if conn, err := net.Dial("tcp", address.String()); err == nil {
		conn.Close()
		t.Errorf("something listens at %s", address)
	}
}

// A served is a server with a request that is under way.
type served struct {
	t        *testing.T
	srv      *http.Server
	address  net.Addr
	finish   chan struct{}
	result   chan error // of Serve
	response *bufio.Reader
}

func serveRequest(t *testing.T, listen func(network, address string) (net.Listener, error)) *served {
	t.Helper()
	ln, err := listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, address: ln.Addr(), finish: make(chan struct{}), result: make(chan error, 1)}
	begun := make(chan bool, 1)
	s.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- true
		<-s.finish
		io.WriteString(w, "done")
	})}
	go func() { s.result <- Serve(s.srv, ln) }()
	conn, err := net.Dial("tcp", s.address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(testprocess.LimitIO(conn, testprocess.Timeout))
	t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: example\r\n\r\n")
	s.response = bufio.NewReader(conn)
	testprocess.Receive(t, "request", begun)
	return s
}

// wantEnd finishes the request. Serve has returned.
func (s *served) wantEnd(answered bool) {
	s.t.Helper()
	close(s.finish)
	if err, _ := testprocess.Receive(s.t, "end of Serve", s.result); err != http.ErrServerClosed {
		s.t.Errorf("Serve: %v", err)
	}
	resp, err := http.ReadResponse(s.response, nil)
	if answered != (err == nil) {
		s.t.Errorf("answered %v, %v", resp, err)
	}
}

// The program may stop a server before, during and after a drain. The drain waits for its requests,
// and does not revive it when it is called off.
func TestStopBesideDrain(t *testing.T) {
	for _, listener := range []struct {
		name   string
		listen func(network, address string) (net.Listener, error)
	}{{"sockets", sockets.Listen}, {"net", net.Listen}} {
		for _, stopper := range stoppers {
			for _, moment := range []string{"before", "during", "after"} {
				t.Run(listener.name+","+stopper.name+","+moment, func(t *testing.T) {
					imagetest.Start(t)
					s := serveRequest(t, listener.listen)
					stopped := make(chan error, 1)
					stop := func() { stopped <- stopper.stop(s.srv) }
					draining := image.Current().Drainers.Draining()
					var d drain.Drained
					switch moment {
					case "before":
						go stop()
						testprocess.WaitFor(t, "end of Serve", func() bool { return len(s.result) > 0 })
						begun := beginDrain()
						testprocess.Receive(t, "drain", draining)
						s.wantEnd(stopper.answers)
						d = wantDrained(t, begun)
					case "during":
						begun := beginDrain()
						testprocess.Receive(t, "drain", draining)
						go stop()
						testprocess.WaitFor(t, "end of Serve", func() bool { return len(s.result) > 0 })
						s.wantEnd(stopper.answers)
						d = wantDrained(t, begun)
					case "after":
						begun := beginDrain()
						testprocess.Receive(t, "drain", draining)
						close(s.finish)
						if _, err := http.ReadResponse(s.response, nil); err != nil {
							t.Error(err)
						}
						d = wantDrained(t, begun)
						go stop()
						if err, _ := testprocess.Receive(t, "end of Serve", s.result); err != http.ErrServerClosed {
							t.Error(err)
						}
					}
					if err, _ := testprocess.Receive(t, stopper.name, stopped); err != nil {
						t.Error(err)
					}
					d.Resume()
					testprocess.WaitFor(t, "end of the listener", func() bool {
						conn, err := net.Dial("tcp", s.address.String())
						if err == nil {
							conn.Close()
						}
						return err != nil
					})
					wantDrained(t, beginDrain()).Resume()
				})
			}
		}
	}
}
