package grpcserve_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// long is a DrainTimeout that no test waits for.
const long = time.Minute

func TestServerContinuesWhenRestartIsCalledOff(t *testing.T) {
	f := start(t)
	c := dial(t, f.address)
	for range 3 {
		c.wantCall(t, "echo a", "a")
		d := drain(t, long)
		if d.unfinished != "" {
			t.Errorf("unfinished: %s", d.unfinished)
		}
		d.resume()
		c.wantCall(t, "echo b", "b")
		dial(t, f.address).wantCall(t, "echo c", "c")
	}
	f.GracefulStop()
	f.wantServed(nil)
}

// Calls that have begun are answered before the drain ends.
func TestDrainWaitsForCalls(t *testing.T) {
	for name, ln := range map[string]net.Listener{"sockets": listen(t), "own": ownTCP(t)} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.serve(ln)
			c := dial(t, f.address)
			c.wantCall(t, "echo a", "a")
			slow := callLater(c, "slow 300ms")
			testprocess.WaitFor(t, "slow call", func() bool { return slowCallBegan() })
			d := drain(t, long)
			if slowCallsRun() {
				t.Error("the drain has ended before the call")
			}
			if d.unfinished != "" || d.took > 5*time.Second {
				t.Errorf("took %v, unfinished: %s", d.took, d.unfinished)
			}
			if err, _ := testprocess.Receive(t, "answer of the slow call", slow); err != nil {
				t.Error(err)
			}
		})
	}
}

func ownTCP(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func callLater(c client, body string) (result <-chan error) {
	answered := make(chan error, 1)
	go func() {
		_, err := c.call(context.Background(), body)
		answered <- err
	}()
	return answered
}

func TestServeOfStoppedServer(t *testing.T) {
	for name, stop := range map[string]func(*grpc.Server){"Stop": (*grpc.Server).Stop, "GracefulStop": (*grpc.Server).GracefulStop} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			stop(f.Server)
			ln := listen(t)
			if err := grpcserve.Serve(f.Server, ln); err != grpc.ErrServerStopped {
				t.Errorf("Serve: %v", err)
			}
			wantClosed(t, ln)
		})
	}
}

func wantClosed(t *testing.T, ln net.Listener) {
	t.Helper()
	if again, err := net.Listen("tcp", ln.Addr().String()); err != nil {
		t.Errorf("the listener is open: %v", err)
	} else {
		again.Close()
	}
}

func TestServeOfNil(t *testing.T) {
	ln := listen(t)
	if err := grpcserve.Serve(nil, ln); err == nil || !strings.Contains(err.Error(), "grpc.Server, got nil") {
		t.Errorf("no server: %v", err)
	}
	wantClosed(t, ln)
	if err := grpcserve.Serve(grpc.NewServer(), nil); err == nil || !strings.Contains(err.Error(), "listener, got nil") {
		t.Errorf("no listener: %v", err)
	}
}

func TestOneServerForEachListener(t *testing.T) {
	f := newFixture(t)
	ln := listen(t)
	f.serve(ln)
	c := dial(t, f.address)
	c.wantCall(t, "echo a", "a")
	for _, other := range []*grpc.Server{grpc.NewServer(), f.Server} {
		err := grpcserve.Serve(other, ln)
		if err == nil || !strings.Contains(err.Error(), "the listener "+ln.Addr().String()+" is served already") {
			t.Errorf("second server: %v", err)
		}
	}
	c.wantCall(t, "echo b", "b")
	second := listen(t)
	f.serve(second) // another listener of the same server
	dial(t, f.address).wantCall(t, "echo c", "c")
	second.Close()
	if err, _ := testprocess.Receive(t, "end of Serve", f.served); err == nil {
		t.Error("Serve has returned nil, and the server is not stopped")
	}
	drain(t, long).resume()
	c.wantCall(t, "echo d", "d")
}

// A server has the DrainOrder of its listeners, which is the same for all.
func TestServerTakesOrderOfListener(t *testing.T) {
	ordered := func(order int) net.Listener {
		t.Helper()
		ln, err := (&sockets.Config{DrainOrder: order}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	f := newFixture(t)
	f.serve(ordered(7))
	c := dial(t, f.address)
	c.wantCall(t, "echo a", "a")
	before, reached := &earlier{proceed: make(chan bool)}, make(chan bool)
	before.drained = func() { close(reached) }
	t.Cleanup(autorestart.RegisterDrainer(before))
	result := beginDrain(t, long)
	testprocess.Receive(t, "first stage", reached)
	c.wantCall(t, "echo b", "b")
	dial(t, f.address).wantCall(t, "echo c", "c") // the listener accepts, too
	close(before.proceed)
	d := awaitDrain(t, result)
	if d.unfinished != "" {
		t.Errorf("unfinished: %s", d.unfinished)
	}
	d.resume()
	other := ordered(8)
	if err := grpcserve.Serve(f.Server, other); err == nil || !strings.Contains(err.Error(), "the same DrainOrder") {
		t.Errorf("another order: %v", err)
	}
	wantClosed(t, other)
	c.wantCall(t, "echo d", "d")
}

// earlier is a Drainer that is drained before the server.
type earlier struct {
	drained func()
	proceed chan bool
}

func (*earlier) Quiesce() {}

func (e *earlier) Drain(ctx context.Context) error {
	e.drained()
	select {
	case <-e.proceed:
	case <-ctx.Done():
	}
	return nil
}

func (*earlier) Resume() {}

// The connections of a listener that the program has closed are drained, too.
func TestDrainWaitsForConnectionsOfClosedListener(t *testing.T) {
	f := newFixture(t)
	ln := ownTCP(t)
	f.serve(ln)
	c := dial(t, f.address)
	c.wantCall(t, "echo a", "a")
	ln.Close()
	<-f.served
	slow := callLater(c, "slow 300ms")
	testprocess.WaitFor(t, "slow call", func() bool { return slowCallBegan() })
	d := drain(t, long)
	if slowCallsRun() {
		t.Error("the drain has ended before the call")
	}
	if err, _ := testprocess.Receive(t, "answer of the slow call", slow); err != nil {
		t.Error(err)
	}
	d.resume()
	testprocess.WaitFor(t, "end of the drainer", func() bool { return !grpcserve.IsRegistered(f.Server) })
}

// GracefulStop and Stop of the program's own.
func TestProgramStopsServer(t *testing.T) {
	stops := map[string]func(*grpc.Server){"Stop": (*grpc.Server).Stop, "GracefulStop": (*grpc.Server).GracefulStop}
	for name, stop := range stops {
		t.Run(name+" before a drain", func(t *testing.T) {
			f := start(t)
			dial(t, f.address).wantCall(t, "echo a", "a")
			stop(f.Server)
			f.wantServed(nil)
			if d := drain(t, long); d.unfinished != "" {
				t.Errorf("unfinished: %s", d.unfinished)
			}
		})
		t.Run(name+" during a drain", func(t *testing.T) {
			f := start(t)
			s := dial(t, f.address).stream(t, "draining")
			c := dial(t, f.address)
			slow := callLater(c, "slow 300ms")
			testprocess.WaitFor(t, "slow call", func() bool { return slowCallBegan() })
			result := beginDrain(t, long)
			if _, err := s.Recv(); err == nil { // it has ended because the drain has begun
				t.Error("a message")
			}
			stop(f.Server)
			f.wantServed(nil)
			d := awaitDrain(t, result)
			if d.unfinished != "" {
				t.Errorf("unfinished: %s", d.unfinished)
			}
			err, _ := testprocess.Receive(t, "end of the slow call", slow)
			if name == "GracefulStop" && err != nil {
				t.Errorf("slow call: %v", err)
			}
			d.resume()
		})
		t.Run(name+" after a drain", func(t *testing.T) {
			f := start(t)
			c := dial(t, f.address)
			c.wantCall(t, "echo a", "a")
			d := drain(t, long)
			stop(f.Server)
			f.wantServed(nil)
			d.resume()
			if d := drain(t, long); d.unfinished != "" {
				t.Errorf("unfinished: %s", d.unfinished)
			}
		})
	}
}
