//go:build linux

package httpserve_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// quickGrace is the Grace of tests in which it passes.
const quickGrace = 100 * time.Millisecond

// wantDrained drains the image, and fails the test if something is left.
func wantDrained(t *testing.T) {
	t.Helper()
	receiveUnfinished(t, drainFor(t, time.Hour))
}

// ignoringHandler is the handler of a stream that ignores its end. It returns when its connection
// is of no use any more, and reports the error to done.
func ignoringHandler(s *httpserve.Streams, begun chan<- bool, done chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		st := s.Begin(w, r)
		defer st.End()
		if r.URL.Path == "/events" {
			begun <- true
			for {
				if _, err := fmt.Fprintf(w, "data: %1000d\n\n", 0); err != nil {
					done <- err
					return
				}
			}
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		begun <- true
		if r.URL.Path == "/read" {
			_, err = io.Copy(io.Discard, rw)
			if err == nil {
				err = io.EOF
			}
		}
		for err == nil {
			_, err = conn.Write(make([]byte, 1<<16))
		}
		done <- err
	}
}

// A connection whose client does not answer or does not read is closed after Grace, with TLS and
// without, whether it is hijacked or not.
func TestConnectionIsClosedAfterGrace(t *testing.T) {
	cert := writeCertificate(t)
	for _, secure := range []bool{false, true} {
		for _, path := range []string{"/events", "/read", "/write"} {
			t.Run(fmt.Sprintf("%s,tls=%t", path[1:], secure), func(t *testing.T) {
				s := &httpserve.Streams{Grace: quickGrace}
				begun, done := make(chan bool), make(chan error, 1)
				address := serveWith(t, cert, secure, ignoringHandler(s, begun, done))
				c := connect(t, address)
				if secure {
					c = c.handshake()
				}
				c.send("GET " + path + " HTTP/1.1\r\nHost: example\r\n\r\n")
				testprocess.Receive(t, "stream", begun)
				watch := testprocess.StartStopwatch()
				wantDrained(t)
				if took := watch.Elapsed(); took > quickGrace+2*time.Second {
					t.Errorf("took %v", took)
				}
				if err, _ := testprocess.Receive(t, "end of the handler", done); err == nil {
					t.Error("no error")
				}
			})
		}
	}
}

// serveWith is serveOne, with HTTP/2 over TLS if secure.
func serveWith(t *testing.T, cert string, secure bool, handler http.HandlerFunc) (address string) {
	t.Helper()
	if !secure {
		return serveOne(t, handler)
	}
	imagetest.Start(t)
	ln, err := sockets.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, ended := &http.Server{Handler: handler}, make(chan bool)
	go func() {
		defer close(ended)
		httpserve.ServeTLS(srv, ln, cert+".pem", cert+".key")
	}()
	t.Cleanup(func() {
		srv.Close()
		<-ended
	})
	return ln.Addr().String()
}

// A stallingConn is a client's connection that can stop to read.
type stallingConn struct {
	net.Conn
	stalled *atomic.Bool
	closed  chan bool
}

func (c stallingConn) Read(b []byte) (int, error) {
	if c.stalled.Load() {
		<-c.closed
	}
	return c.Conn.Read(b)
}

// stallingClient returns a client that uses one connection, and stops to read when stalled is set.
func stallingClient(t *testing.T, stalled *atomic.Bool) *http.Client {
	closed := make(chan bool)
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := testprocess.DialContext(ctx, network, address)
			return stallingConn{conn, stalled, closed}, err
		},
	}
	t.Cleanup(func() {
		close(closed)
		transport.CloseIdleConnections()
	})
	return &http.Client{Transport: transport}
}

// In HTTP/2 the stream is reset, and other requests on the connection are answered.
func TestOtherRequestsOfHTTP2AreAnswered(t *testing.T) {
	s := &httpserve.Streams{Grace: quickGrace}
	begun, proceed, cut := make(chan bool), make(chan bool), make(chan bool)
	address := serveWith(t, writeCertificate(t), true, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			begun <- true
			<-proceed
			io.WriteString(w, "answer")
			return
		}
		st := s.Begin(w, r)
		defer st.End()
		http.NewResponseController(w).Flush()
		begun <- true
		<-r.Context().Done() // the stream is reset
		close(cut)
	})
	client := stallingClient(t, new(atomic.Bool))
	stream, err := client.Get("https://" + address + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	testprocess.Receive(t, "stream", begun)
	answer := make(chan string, 1)
	go func() {
		resp, err := client.Get("https://" + address + "/other")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- string(b)
	}()
	testprocess.Receive(t, "request", begun)
	unfinished := drainFor(t, time.Hour)
	testprocess.Receive(t, "end of the stream", cut)
	if _, err := io.ReadAll(stream.Body); err == nil {
		t.Error("the stream has ended without an error")
	}
	proceed <- true
	if got, _ := testprocess.Receive(t, "answer", answer); got != "answer" {
		t.Error(got)
	}
	receiveUnfinished(t, unfinished)
}

// An HTTP/2 connection whose client reads nothing is closed: no frame comes through.
func TestHTTP2ConnectionIsClosedIfClientReadsNothing(t *testing.T) {
	s := &httpserve.Streams{Grace: quickGrace} // the connection may fill after that
	const streams = 5                          // each has a window that is smaller than the buffers of the kernel
	begun, done := make(chan bool, streams), make(chan error, streams)
	address := serveWith(t, writeCertificate(t), true, ignoringHandler(s, begun, done))
	var stalled atomic.Bool
	client := stallingClient(t, &stalled)
	for range streams {
		resp, err := client.Get("https://" + address + "/events")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		testprocess.Receive(t, "stream", begun)
	}
	stalled.Store(true)
	watch := testprocess.StartStopwatch()
	wantDrained(t)
	if took := watch.Elapsed(); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
	for range streams {
		testprocess.Receive(t, "end of the handler", done)
	}
}

// The request that follows on a connection is another one: it is not cut.
func TestNextRequestIsNotCut(t *testing.T) {
	s := &httpserve.Streams{Grace: -1}
	begun, proceed := make(chan bool), make(chan bool)
	address := serveOne(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/forgets" {
			s.Begin(w, r) // and no End
			return
		}
		begun <- true
		<-proceed
		io.WriteString(w, "answer")
	})
	c := connect(t, address)
	c.send("GET /forgets HTTP/1.1\r\nHost: example\r\n\r\n")
	c.want("")
	c.send("GET / HTTP/1.1\r\nHost: example\r\n\r\n")
	testprocess.Receive(t, "request", begun)
	unfinished := drainFor(t, time.Hour)
	testprocess.Receive(t, "drain", image.Current().Drainers.Draining())
	proceed <- true
	c.want("answer")
	receiveUnfinished(t, unfinished)
}

// With another server, reads and writes fail after Grace.
func TestStreamOfOtherServer(t *testing.T) {
	imagetest.Start(t)
	s := &httpserve.Streams{Grace: quickGrace}
	begun, done := make(chan bool), make(chan error, 1)
	srv := httptest.NewServer(ignoringHandler(s, begun, done))
	defer srv.Close()
	for _, path := range []string{"/events", "/read", "/write"} {
		c := connect(t, srv.Listener.Addr().String())
		c.send("GET " + path + " HTTP/1.1\r\nHost: example\r\n\r\n")
		testprocess.Receive(t, "stream", begun)
		wantDrained(t)
		if err, _ := testprocess.Receive(t, "end of the handler", done); err == nil || path == "/read" && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
