package grpcserve_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestStreamTimeout(t *testing.T) {
	for _, tt := range []struct{ drain, want time.Duration }{
		{10 * time.Second, 5 * time.Second},
		{2 * time.Second, time.Second},
		{1500 * time.Millisecond, 500 * time.Millisecond},
		{time.Second, 0},
		{time.Millisecond, 0},
		{-time.Second, 0},
	} {
		if got := grpcserve.StreamTimeout(tt.drain); got != tt.want {
			t.Errorf("DrainTimeout %v: %v, want %v", tt.drain, got, tt.want)
		}
	}
}

// A handler that waits for its context says goodbye.
func TestContextOfStreamIsCancelled(t *testing.T) {
	f := start(t)
	s := dial(t, f.address).stream(t, "context")
	result := beginDrain(t, 1500*time.Millisecond)
	wantMessage(t, s, grpcserve.ErrRestart.Error())
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("end of the stream: %v", err)
	}
	if d := awaitDrain(t, result); d.unfinished != "" {
		t.Errorf("unfinished: %s", d.unfinished)
	}
}

// A handler that has ended its stream at the beginning of the drain has not been cancelled.
func TestStreamEndsWhenDrainBegins(t *testing.T) {
	f := start(t)
	s := dial(t, f.address).stream(t, "draining")
	result := beginDrain(t, long)
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("end of the stream: %v", err)
	}
	awaitDrain(t, result)
}

// The handler waits for a message in a call that knows nothing of the context.
func TestReceiverOfMessagesIsInterrupted(t *testing.T) {
	f := start(t)
	c := dial(t, f.address)
	s := duplex(t, c)
	result := beginDrain(t, 1500*time.Millisecond)
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("end of the stream: %v", err)
	}
	d := awaitDrain(t, result)
	if d.unfinished != "" {
		t.Errorf("unfinished: %s", d.unfinished)
	}
	d.resume()
	duplex(t, c) // streams that begin later are not interrupted
}

// duplex begins a call of FullDuplexCall.
func duplex(t *testing.T, c client) testpb.TestService_FullDuplexCallClient {
	t.Helper()
	ctx, cancel := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	t.Cleanup(cancel)
	s, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"a", "b"} {
		if err := s.Send(&testpb.StreamingOutputCallRequest{Payload: payload(body)}); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, s, body)
	}
	return s
}

// The interceptor changes nothing in streams that end by themselves.
func TestStreamsEndAsWithoutInterceptor(t *testing.T) {
	f := start(t)
	c := dial(t, f.address)
	s := duplex(t, c)
	s.CloseSend()
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("end by the client: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !grpcserve.AwaitStreams(1) {
		t.Error("the interceptor has not got the stream")
	}
	cancel()
	if _, err := s.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("cancelled by the client: %v", err)
	}
	if !grpcserve.AwaitStreams(0) {
		t.Error("the handler has not ended")
	}
	if _, err := c.stream(t, "nothing").Recv(); status.Code(err) != codes.Unknown {
		t.Errorf("error of the handler: %v", err)
	}
}

// An interceptor of the program that recovers from panics gets those of RecvMsg, too.
func TestPanicReachesInterceptors(t *testing.T) {
	recovers := func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = status.Error(codes.DataLoss, "recovered")
			}
		}()
		return handler(srv, panicking{ss})
	}
	f := start(t, grpc.ChainStreamInterceptor(recovers))
	s, err := dial(t, f.address).FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); status.Code(err) != codes.DataLoss {
		t.Errorf("end of the stream: %v", err)
	}
}

type panicking struct{ grpc.ServerStream }

func (panicking) RecvMsg(any) error { panic("of RecvMsg") }

// A stream whose handler ignores its context lasts until the end of the drain, which says so.
func TestStreamThatIgnoresContextIsUnfinished(t *testing.T) {
	f := start(t)
	c := dial(t, f.address)
	c.stream(t, "ignore")
	c.stream(t, "ignore")
	d := drain(t, 1200*time.Millisecond)
	if !strings.Contains(d.unfinished, "1 gRPC connection with 2 calls") {
		t.Errorf("unfinished: %s", d.unfinished)
	}
}

// A handler that sends to a client that does not read waits in SendMsg, also when its context
// has ended.
func TestClientThatDoesNotRead(t *testing.T) {
	f := start(t)
	dial(t, f.address).stream(t, "flood") // nothing is received from now on
	d := drain(t, 1200*time.Millisecond)
	if !strings.Contains(d.unfinished, "1 gRPC connection with 1 call") {
		t.Errorf("unfinished: %s", d.unfinished)
	}
	d.resume()
	dial(t, f.address).wantCall(t, "echo a", "a")
}
