package grpcserve_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// wantWaiting makes calls of new clients during a drain. Their connections must wait until the restart is
// called off, and the calls are answered then. A server that is not drained shows how soon they would
// be answered otherwise.
func wantWaiting(t *testing.T, f *fixture, d drained) {
	t.Helper()
	const clients, calls = 4, 20
	connected := make(chan bool, 2*clients)
	var answers []<-chan error
	for range 1 + clients {
		c := dial(t, f.address, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c, err := testprocess.DialContext(ctx, "tcp", address)
			connected <- err == nil
			return c, err
		}))
		answers = append(answers, callLater(c, "echo a"))
		if ok, _ := testprocess.Receive(t, "connection", connected); !ok {
			t.Fatal("the connection has failed")
		}
	}
	other := undrained(t)
	for range calls {
		dial(t, other).wantCall(t, "echo a", "a")
	}
	if n := grpcserve.Connections(f.Server); n > 1 {
		t.Errorf("%d connections are accepted during the drain", n)
	}
	for _, answered := range answers[1:] { // the first may be accepted, where Accept was called before the drain
		select {
		case err := <-answered:
			t.Fatalf("a call during the drain has ended: %v", err)
		default:
		}
	}
	d.resume()
	for _, answered := range answers {
		if err, _ := testprocess.Receive(t, "answer of a call after the drain", answered); err != nil {
			t.Error(err)
		}
	}
}

// undrained returns the address of a server of package grpc alone.
func undrained(t *testing.T) (target string) {
	t.Helper()
	s := grpc.NewServer()
	testpb.RegisterTestServiceServer(s, testService{})
	ln := ownTCP(t)
	go s.Serve(ln)
	t.Cleanup(s.Stop)
	return "passthrough:///" + ln.Addr().String()
}

// Connections that are made after a drain wait for the end of the restart.
func TestNewConnectionsWait(t *testing.T) {
	for name, ln := range map[string]net.Listener{"sockets": listen(t), "own": ownTCP(t)} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.serve(ln)
			dial(t, f.address).wantCall(t, "echo a", "a")
			wantWaiting(t, f, drain(t, long))
		})
	}
}

// A server that is served after a drain has begun is drained, too: its clients wait.
func TestServeAfterDrainHasBegun(t *testing.T) {
	for name, listen := range map[string]func(*testing.T) net.Listener{"sockets": listen, "own": ownTCP} {
		t.Run(name, func(t *testing.T) {
			d := drain(t, long)
			f := newFixture(t)
			f.serve(listen(t))
			testprocess.WaitFor(t, "drain of the server", grpcserve.IsDraining)
			wantWaiting(t, f, d)
		})
	}
}
