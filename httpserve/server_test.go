package httpserve

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/autorestart-go/autorestart/httpserve/internal/goaway"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestHooksAndShutdownOfServerWork(t *testing.T) {
	var mu sync.Mutex
	var states []http.ConnState
	type ctxKey struct{}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.Context().Value(ctxKey{}).(string))
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, state)
		},
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, ctxKey{}, "from the context")
		},
	}
	result := make(chan error, 2)
	var addresses []string
	for range 2 { // one server, two listeners
		ln, err := sockets.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, ln.Addr().String())
		go func() { result <- Serve(srv, ln) }()
	}
	for _, address := range addresses {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: example\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); string(b) != "from the context" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}
	ctx, cancel := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for range addresses {
		if err := <-result; err != http.ErrServerClosed {
			t.Error(err)
		}
	}
	s := srv.Handler.(*server)
	if s.serving != 0 {
		t.Fatalf("%d calls of Serve are counted", s.serving)
	}
	for _, state := range []http.ConnState{http.StateNew, http.StateActive, http.StateIdle} {
		// Shutdown does not wait for the hook.
		testprocess.WaitFor(t, "second call of ConnState with state "+state.String(), func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(slices.DeleteFunc(slices.Clone(states), func(s http.ConnState) bool { return s != state })) == 2
		})
	}
	if err := Serve(srv, mustListen(t)); err != http.ErrServerClosed {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

func mustListen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := sockets.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestServeTLSClosesListenerOnError(t *testing.T) {
	ln := mustListen(t)
	if err := ServeTLS(new(http.Server), ln, "no such file", "nor that"); err == nil {
		t.Error("no error")
	}
	if again, err := net.Listen("tcp", ln.Addr().String()); err != nil {
		t.Errorf("the listener is still open: %v", err)
	} else {
		again.Close()
	}
}

// Once a connection is being closed, no request on it is served any more, and none that is
// served is cut off.
func TestRequestIsServedOrConnectionClosed(t *testing.T) {
	s := &server{handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	serve := func(c *conn) (result any) {
		defer func() { result = recover() }()
		r := httptest.NewRequest("GET", "/", nil)
		s.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), connKey{}, c)))
		return nil
	}
	connected := func() (*conn, *bufio.Reader) {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close(); there.Close() })
		return newConn(here, false, func() {}), bufio.NewReader(there)
	}

	c, client := connected()
	if first, again := c.startClosing(true), c.startClosing(true); !first || !again {
		t.Error("the connection is not closed")
	}
	c.setState(http.StateActive)
	if got := serve(c); got != http.ErrAbortHandler {
		t.Errorf("the handler was called, or the panic is %v", got)
	}
	if resp, err := http.ReadResponse(client, nil); err != nil || resp.StatusCode != http.StatusRequestTimeout || !resp.Close {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := client.ReadByte(); err != io.EOF {
		t.Errorf("%v, expected the end", err)
	}

	c, _ = connected()
	c.setState(http.StateActive)
	if c.startClosing(true) {
		t.Error("the connection is closed while it serves a request")
	}
	if got := serve(c); got != nil {
		t.Errorf("panic: %v", got)
	}
}

// Where net/http is not as package goaway expects it, the server serves without that part.
func TestServesWithoutGoAway(t *testing.T) {
	identity := httptest.NewTLSServer(nil)
	defer identity.Close()
	defer func(original func(*goaway.Group, *http.Server, bool) error) { configure = original }(configure)
	for _, err := range []error{errors.ErrUnsupported, errors.New("net/http is different")} {
		configure = func(*goaway.Group, *http.Server, bool) error { return err }
		var logged testprocess.Log
		srv := &http.Server{
			Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }),
			TLSConfig: &tls.Config{Certificates: identity.TLS.Certificates},
			ErrorLog:  log.New(&logged, "", 0),
		}
		ln := mustListen(t)
		served := make(chan error)
		go func() { served <- ServeTLS(srv, ln, "", "") }()
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		resp, getErr := (&http.Client{Transport: transport}).Get("https://" + ln.Addr().String())
		if getErr != nil {
			t.Errorf("%v: %v", err, getErr)
		} else {
			resp.Body.Close()
			if resp.ProtoMajor != 2 {
				t.Errorf("%v: %v", err, resp.Proto)
			}
		}
		transport.CloseIdleConnections()
		srv.Close()
		<-served
		testprocess.WaitFor(t, "log line", func() bool { return logged.String() != "" }) // of a goroutine of its own
		if got := logged.String(); strings.Count(got, "GOAWAY") != 1 || !strings.Contains(got, err.Error()) {
			t.Errorf("%v: logged %q", err, got)
		}
	}
}
