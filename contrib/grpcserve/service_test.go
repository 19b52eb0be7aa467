package grpcserve_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/peer"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// testService is what the servers of tests do. The body of a request begins with a word that says what.
type testService struct {
	testpb.UnimplementedTestServiceServer
}

func payload(body string) *testpb.Payload { return &testpb.Payload{Body: []byte(body)} }

// UnaryCall answers with the rest of the body, after the time that "slow" is followed by, or with the name
// in the client's certificate.
func (testService) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	word, rest, _ := strings.Cut(string(in.Payload.Body), " ")
	switch word {
	case "slow":
		slowCalls.Add(1)
		defer slowCallsEnded.Add(1)
		delay, _ := time.ParseDuration(rest)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case "name":
		p, _ := peer.FromContext(ctx)
		info, ok := p.AuthInfo.(credentials.TLSInfo)
		if !ok || len(info.State.PeerCertificates) == 0 {
			return nil, errors.New("no certificate")
		}
		rest = info.State.PeerCertificates[0].Subject.CommonName
	}
	return &testpb.SimpleResponse{Payload: payload(rest)}, nil
}

// StreamingOutputCall sends "begun", and then does what the body says.
func (testService) StreamingOutputCall(in *testpb.StreamingOutputCallRequest, ss grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	send := func(body string) error { return ss.Send(&testpb.StreamingOutputCallResponse{Payload: payload(body)}) }
	if err := send("begun"); err != nil {
		return err
	}
	switch string(in.Payload.Body) {
	case "context": // says goodbye
		<-ss.Context().Done()
		if err := send(context.Cause(ss.Context()).Error()); err != nil {
			return err
		}
		return ss.Context().Err()
	case "draining":
		<-autorestart.Draining()
		return nil
	case "ignore":
		for {
			if err := send("more"); err != nil {
				return err
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "flood":
		big := strings.Repeat("x", 1<<20)
		for {
			if err := send(big); err != nil {
				return err
			}
		}
	}
	return errors.New("unknown body")
}

// FullDuplexCall sends what it receives.
func (testService) FullDuplexCall(ss grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		in, err := ss.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if string(in.Payload.Body) == "panic" {
			panic("as asked for")
		}
		if err := ss.Send(&testpb.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

// A client is a stock client that does not retry.
type client struct {
	*grpc.ClientConn
	testpb.TestServiceClient
}

func dial(t testing.TB, target string, options ...grpc.DialOption) client {
	t.Helper()
	c, err := newClient(target, nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// newClient returns a client, with TLS unless config is nil.
func newClient(target string, config *tls.Config, options ...grpc.DialOption) (client, error) {
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	cc, err := grpc.NewClient(target, append(options, grpc.WithTransportCredentials(creds), grpc.WithDisableRetry())...)
	return client{cc, testpb.NewTestServiceClient(cc)}, err
}

// call makes a unary call.
func (c client) call(ctx context.Context, body string) (string, error) {
	ctx, cancel := testprocess.WithTimeout(ctx, testprocess.Timeout)
	defer cancel()
	resp, err := c.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload(body)})
	if err != nil {
		return "", err
	}
	return string(resp.Payload.Body), nil
}

// wantCall makes a unary call that must be answered.
func (c client) wantCall(t testing.TB, body, want string) {
	t.Helper()
	if got, err := c.call(t.Context(), body); got != want || err != nil {
		t.Fatalf("call %q: %q, %v", body, got, err)
	}
}

// stream begins a call of StreamingOutputCall.
func (c client) stream(t testing.TB, body string) grpc.ServerStreamingClient[testpb.StreamingOutputCallResponse] {
	t.Helper()
	ctx, cancel := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	t.Cleanup(cancel)
	s, err := c.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{Payload: payload(body)})
	if err != nil {
		t.Fatal(err)
	}
	wantMessage(t, s, "begun")
	return s
}

// receiver is the part of a stream that receives.
type receiver interface {
	Recv() (*testpb.StreamingOutputCallResponse, error)
}

func wantMessage(t testing.TB, s receiver, want string) {
	t.Helper()
	if m, err := s.Recv(); err != nil || string(m.Payload.Body) != want {
		t.Fatalf("message %v, %v; want %q", m, err, want)
	}
}

// slowCalls counts the unary calls that have begun to take a while.
var slowCalls, seenSlowCalls, slowCallsEnded atomic.Int64

// slowCallBegan reports whether a slow call has begun since it last did.
func slowCallBegan() bool {
	begun := slowCalls.Load()
	return seenSlowCalls.Swap(begun) < begun
}

// slowCallsRun reports whether a slow call has not ended.
func slowCallsRun() bool { return slowCallsEnded.Load() < slowCalls.Load() }
