//go:build linux

package httpserve_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// serveOne starts a server with a handler in an image of its own.
func serveOne(t *testing.T, handler http.HandlerFunc) (address string) {
	t.Helper()
	imagetest.Start(t)
	ln, err := sockets.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving, ended := make(chan bool), make(chan bool)
	srv := &http.Server{Handler: handler, BaseContext: func(net.Listener) context.Context {
		close(serving)
		return context.Background()
	}}
	go func() {
		defer close(ended)
		httpserve.Serve(srv, ln)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-ended
	})
	testprocess.Receive(t, "server", serving)
	return ln.Addr().String()
}

// drainFor drains the current image, and returns what was not finished in that time.
func drainFor(t *testing.T, timeout time.Duration) (unfinished <-chan []string) {
	c := make(chan []string, 1)
	go func() {
		d, err := image.Current().Drainers.Begin(t.Context(), timeout, nil)
		if err != nil {
			close(c)
			return
		}
		d.Resume()
		c <- d.Unfinished()
	}()
	return c
}

func receiveUnfinished(t *testing.T, c <-chan []string, want ...string) {
	t.Helper()
	got, _ := testprocess.Receive(t, "end of the drain", c)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("unfinished: %q, expected %q", got, want)
	}
}

const askHijack = "GET /hijack HTTP/1.1\r\nHost: example\r\n\r\n"

// A connection is counted as hijacked, whether its handler hijacks it before the drain begins or
// when the drain waits for the request already. The drain waits for its end.
func TestHijackAtTheMomentOfTheDrain(t *testing.T) {
	for _, during := range []bool{false, true} {
		t.Run(fmt.Sprintf("during=%t", during), func(t *testing.T) {
			begun, proceed, hijacked, end := make(chan bool), make(chan bool), make(chan bool), make(chan bool)
			address := serveOne(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/wait" {
					begun <- true
					<-end
					return
				}
				begun <- true
				<-proceed
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				hijacked <- true
				<-end
				io.WriteString(conn, "end\n")
			})
			c, other := connect(t, address), connect(t, address)
			c.send(askHijack)
			testprocess.Receive(t, "request", begun)
			fmt.Fprint(other, "GET /wait HTTP/1.1\r\nHost: example\r\n\r\n")
			testprocess.Receive(t, "request", begun)
			hijack := func() {
				proceed <- true
				testprocess.Receive(t, "hijacked connection", hijacked)
			}
			if !during {
				hijack()
			}
			unfinished := drainFor(t, time.Second) // in which the handler hijacks
			testprocess.Receive(t, "drain", image.Current().Drainers.Draining())
			if during {
				hijack()
			}
			receiveUnfinished(t, unfinished, "2 connections of tcp "+address+" (1 hijacked)")

			unfinished = drainFor(t, time.Hour)
			testprocess.Receive(t, "drain", image.Current().Drainers.Draining())
			close(end)
			if line, err := c.r.ReadString('\n'); line != "end\n" {
				t.Errorf("read %q, %v", line, err)
			}
			c.wantEnd()
			c.Close()
			receiveUnfinished(t, unfinished)
		})
	}
}
