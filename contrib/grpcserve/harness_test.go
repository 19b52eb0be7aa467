package grpcserve_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// A fixture is a server in the process of the test.
type fixture struct {
	*grpc.Server
	t       *testing.T
	health  *health.Server
	address string
	served  chan error // what Serve returns
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := sockets.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// newFixture returns a server that is not served.
func newFixture(t *testing.T, options ...grpc.ServerOption) *fixture {
	t.Helper()
	options = append(options, grpc.ChainStreamInterceptor(grpcserve.StreamServerInterceptor()))
	f := &fixture{Server: grpc.NewServer(options...), t: t, health: health.NewServer(), served: make(chan error, 1)}
	testpb.RegisterTestServiceServer(f, testService{})
	healthpb.RegisterHealthServer(f, grpcserve.Health(f.health))
	t.Cleanup(func() {
		f.Stop()
		testprocess.WaitFor(t, "end of the drainer", func() bool { return !grpcserve.IsRegistered(f.Server) })
	})
	return f
}

func (f *fixture) serve(ln net.Listener) {
	f.address = "passthrough:///" + ln.Addr().String()
	go func() { f.served <- grpcserve.Serve(f.Server, ln) }()
}

// start returns a server on a listener of package sockets.
func start(t *testing.T, options ...grpc.ServerOption) *fixture {
	t.Helper()
	f := newFixture(t, options...)
	f.serve(listen(t))
	return f
}

// wantServed waits for the end of Serve.
func (f *fixture) wantServed(want error) {
	f.t.Helper()
	if err, _ := testprocess.Receive(f.t, "end of Serve", f.served); err != want {
		f.t.Errorf("Serve: %v, want %v", err, want)
	}
}

// A drained is a drain of the process of the test, which no exec follows.
type drained struct {
	unfinished string
	took       time.Duration
	resume     func()
}

// beginDrain drains the program.
func beginDrain(t *testing.T, timeout time.Duration) (result <-chan drained) {
	c := make(chan drained, 1)
	go func() {
		watch := testprocess.StartStopwatch()
		d, err := image.Current().Drainers.Begin(context.Background(), timeout, func([]string) {})
		if err != nil {
			t.Error(err)
			close(c)
			return
		}
		text := ""
		for _, unfinished := range d.Unfinished() {
			text += unfinished + "\n"
		}
		c <- drained{text, watch.Elapsed(), d.Resume}
	}()
	return c
}

// awaitDrain waits for the end of Begin. The restart is called off at the end of the test, or before.
func awaitDrain(t *testing.T, result <-chan drained) drained {
	t.Helper()
	d, ok := testprocess.Receive(t, "end of the drain", result)
	if !ok {
		t.FailNow()
	}
	called := false
	resume := d.resume
	d.resume = func() {
		if !called {
			called = true
			resume()
		}
	}
	t.Cleanup(d.resume)
	return d
}

// drain is both.
func drain(t *testing.T, timeout time.Duration) drained {
	t.Helper()
	return awaitDrain(t, beginDrain(t, timeout))
}
