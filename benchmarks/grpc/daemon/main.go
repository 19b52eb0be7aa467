// Daemon is a gRPC server that restarts by this library, with package grpcserve or without it.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"os"
	"time"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/sockets"
)

var (
	drainTimeout = flag.Duration("drain-timeout", 10*time.Second, "how `long` the work of a version may take to end")
	by           = flag.String("by", "grpcserve", "what drains the server: grpcserve, `GracefulStop`, or nothing")
)

func main() {
	defer autorestart.RollbackUnlessReady()
	daemon.Start()
	restarter := &autorestart.Restarter{
		DrainTimeout: *drainTimeout,
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	go func() { log.Print(restarter.Run(context.Background())) }()
	ln, err := sockets.Listen(*daemon.Network, *daemon.Address)
	if err != nil {
		log.Panic(err)
	}
	s := grpc.NewServer(grpc.ChainStreamInterceptor(grpcserve.StreamServerInterceptor()))
	testpb.RegisterTestServiceServer(s, service{})
	autorestart.Ready()
	times := autorestart.LastRestart()
	if err := (daemon.Report{Quiesced: times.Quiesced, Executed: times.Executed}).Say(); err != nil {
		log.Panic(err)
	}
	switch *by {
	case "grpcserve":
		log.Panic(grpcserve.Serve(s, ln))
	case "GracefulStop":
		go func() {
			<-autorestart.Draining()
			s.GracefulStop()
		}()
		log.Print(s.Serve(ln))
		select {} // until the exec
	default:
		log.Panic(s.Serve(ln))
	}
}

type service struct {
	testpb.UnimplementedTestServiceServer
}

func (service) UnaryCall(_ context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{Payload: in.Payload}, nil
}

// StreamingOutputCall sends its request again and again, until a restart begins. If the request is
// "stubborn", it sends that once, and "cancelled" when its context is cancelled. It does not end then.
func (service) StreamingOutputCall(in *testpb.StreamingOutputCallRequest, ss grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	send := func(p *testpb.Payload) error { return ss.Send(&testpb.StreamingOutputCallResponse{Payload: p}) }
	if err := send(in.Payload); err != nil {
		return err
	}
	if string(in.Payload.Body) == "stubborn" {
		<-ss.Context().Done()
		if err := send(&testpb.Payload{Body: []byte("cancelled")}); err != nil {
			return err
		}
		select {}
	}
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := send(in.Payload); err != nil {
				return err
			}
		case <-autorestart.Draining():
			return nil
		case <-ss.Context().Done():
			return ss.Context().Err()
		}
	}
}
