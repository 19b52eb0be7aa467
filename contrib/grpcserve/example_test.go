package grpcserve_test

import (
	"context"
	"errors"
	"log"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/sockets"
)

func Example() {
	s := grpc.NewServer(grpc.ChainStreamInterceptor(grpcserve.StreamServerInterceptor()))
	healthpb.RegisterHealthServer(s, grpcserve.Health(health.NewServer()))
	ln, err := sockets.Listen("tcp", ":50051")
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	go func() { log.Print(new(autorestart.Restarter).Run(context.Background())) }()
	log.Panic(grpcserve.Serve(s, ln))
}

// A server on two addresses. It is stopped by the program.
func ExampleServe() {
	s := grpc.NewServer()
	served := make(chan error)
	for _, network := range []struct{ name, address string }{{"tcp", ":50051"}, {"unix", "/run/service.sock"}} {
		ln, err := sockets.Listen(network.name, network.address)
		if err != nil {
			log.Panic(err)
		}
		go func() { served <- grpcserve.Serve(s, ln) }()
	}
	autorestart.Ready()
	go func() {
		<-autorestart.NotifyOnSigterm()
		s.GracefulStop()
	}()
	for range 2 {
		if err := <-served; err != nil {
			log.Panic(err)
		}
	}
}

// A handler that sends events until the interceptor ends its context. The
// client gets the code Unavailable.
func ExampleStreamServerInterceptor() {
	s := grpc.NewServer(grpc.ChainStreamInterceptor(grpcserve.StreamServerInterceptor()))
	testpb.RegisterTestServiceServer(s, events{})
}

type events struct {
	testpb.UnimplementedTestServiceServer
}

func (events) StreamingOutputCall(_ *testpb.StreamingOutputCallRequest, ss grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case now := <-ticker.C:
			if err := ss.Send(&testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: now.AppendFormat(nil, time.RFC3339)}}); err != nil {
				return err
			}
		case <-ss.Context().Done():
			if errors.Is(context.Cause(ss.Context()), grpcserve.ErrRestart) {
				log.Printf("the stream ends after %d events", n)
			}
			return ss.Context().Err() // the client gets the code Unavailable
		}
	}
}

// The health that load balancers watch.
func ExampleHealth() {
	s := grpc.NewServer()
	hs := health.NewServer()
	hs.SetServingStatus("grpc.testing.TestService", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(s, grpcserve.Health(hs))
}
