package grpcserve_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// startOrdered returns a server that is drained after those without a DrainOrder.
func startOrdered(t *testing.T) *fixture {
	t.Helper()
	ln, err := (&sockets.Config{DrainOrder: 7}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	f.serve(ln)
	return f
}

// The contexts of streams are cancelled when half of the time is over that is left when the turn of the
// server comes.
func TestStreamsHaveHalfOfWhatIsLeft(t *testing.T) {
	const (
		timeout = 3 * time.Second
		before  = 800 * time.Millisecond
	)
	f := startOrdered(t)
	s := dial(t, f.address).stream(t, "context")
	first := &earlier{proceed: make(chan bool), drained: func() {}}
	t.Cleanup(autorestart.RegisterDrainer(first))
	start := time.Now()
	result := beginDrain(t, timeout)
	testprocess.WaitFor(t, "time of the first stage", func() bool { return time.Since(start) >= before })
	close(first.proceed)
	wantMessage(t, s, grpcserve.ErrRestart.Error())
	if took, least := time.Since(start), before+(timeout-before)/2; took < least {
		t.Errorf("the context is cancelled after %v, want %v", took, least)
	}
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("end of the stream: %v", err)
	}
	if d := awaitDrain(t, result); d.unfinished != "" {
		t.Errorf("unfinished: %s", d.unfinished)
	}
}

// If earlier stages use up the DrainTimeout, the contexts of streams are cancelled at its end.
func TestStreamsHaveNoTimeLeft(t *testing.T) {
	const timeout = 1200 * time.Millisecond
	f := startOrdered(t)
	s := dial(t, f.address).stream(t, "context")
	t.Cleanup(autorestart.RegisterDrainer(&earlier{proceed: make(chan bool), drained: func() {}}))
	start := time.Now()
	result := beginDrain(t, timeout)
	wantMessage(t, s, grpcserve.ErrRestart.Error())
	if took := time.Since(start); took < timeout {
		t.Errorf("the context is cancelled after %v, before the turn of the server", took)
	}
	awaitDrain(t, result)
}
