package grpcserve

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Health returns a view of hs for [healthpb.RegisterHealthServer]. While the servers of [Serve] are
// drained, all services that hs knows are NOT_SERVING in the view. Calls of Watch send that status when
// the drain begins, and end with the code Unavailable: a stream that never ends would hold up
// each restart. The view shows what hs says otherwise, also after a restart that was called off. hs
// itself does not change. Health panics if hs is nil.
func Health(hs *health.Server) healthpb.HealthServer {
	if hs == nil {
		panic("grpcserve: Health needs a health.Server, got nil")
	}
	return healthView{hs}
}

type healthView struct{ healthpb.HealthServer }

func (v healthView) Check(ctx context.Context, in *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	resp, err := v.HealthServer.Check(ctx, in)
	if err == nil && restart.isDraining() {
		return notServing(), nil
	}
	return resp, err
}

func (v healthView) List(ctx context.Context, in *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	resp, err := v.HealthServer.List(ctx, in)
	if err == nil && restart.isDraining() {
		for service := range resp.Statuses {
			resp.Statuses[service] = notServing()
		}
	}
	return resp, err
}

func (v healthView) Watch(in *healthpb.HealthCheckRequest, ss grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	draining := restart.draining()
	go func() {
		select {
		case <-draining:
			cancel()
		case <-ctx.Done():
		}
	}()
	w := &watchStream{ServerStreamingServer: ss, ctx: ctx}
	err := v.HealthServer.Watch(in, w)
	if ss.Context().Err() != nil || ctx.Err() == nil {
		return err
	}
	if _, err := v.HealthServer.Check(ctx, in); err == nil && w.last != healthpb.HealthCheckResponse_NOT_SERVING {
		ss.Send(notServing()) // if that fails, so does the call
	}
	return errUnavailable
}

// A watchStream is what a Watch gets. Its context ends when a drain begins.
type watchStream struct {
	grpc.ServerStreamingServer[healthpb.HealthCheckResponse]
	ctx  context.Context
	last healthpb.HealthCheckResponse_ServingStatus
}

func (w *watchStream) Context() context.Context { return w.ctx }

func (w *watchStream) Send(resp *healthpb.HealthCheckResponse) error {
	if w.ctx.Err() != nil {
		return w.ctx.Err() // the last status comes after the Watch
	}
	w.last = resp.Status
	return w.ServerStreamingServer.Send(resp)
}

func notServing() *healthpb.HealthCheckResponse {
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}
}
