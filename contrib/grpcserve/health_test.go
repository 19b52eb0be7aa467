package grpcserve_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	unknown    = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
)

func watchHealth(t *testing.T, c client, service string) healthpb.Health_WatchClient {
	t.Helper()
	ctx, cancel := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	t.Cleanup(cancel)
	w, err := healthpb.NewHealthClient(c).Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func wantStatus(t *testing.T, w healthpb.Health_WatchClient, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	if resp, err := w.Recv(); err != nil || resp.Status != want {
		t.Fatalf("status %v, %v; want %v", resp, err, want)
	}
}

func wantUnavailable(t *testing.T, w healthpb.Health_WatchClient) {
	t.Helper()
	if resp, err := w.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("end of Watch: %v, %v", resp, err)
	}
}

// Watchers learn of a drain, and do not hold it up.
func TestWatchersOfHealthLearnOfDrain(t *testing.T) {
	f := start(t)
	f.health.SetServingStatus("down", notServing)
	c := dial(t, f.address)
	all, down, other := watchHealth(t, c, ""), watchHealth(t, c, "down"), watchHealth(t, c, "other")
	wantStatus(t, all, serving)
	wantStatus(t, down, notServing)
	wantStatus(t, other, unknown)
	result := beginDrain(t, long)
	wantStatus(t, all, notServing)
	wantUnavailable(t, all)
	wantUnavailable(t, down)
	wantUnavailable(t, other)
	d := awaitDrain(t, result)
	if d.unfinished != "" {
		t.Errorf("unfinished: %s", d.unfinished)
	}
	d.resume()
	again := watchHealth(t, c, "")
	wantStatus(t, again, serving)
	f.health.SetServingStatus("", notServing)
	wantStatus(t, again, notServing)
}

func TestHealthWhileDraining(t *testing.T) {
	f := start(t)
	view := grpcserve.Health(f.health)
	check := func(service string, want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		resp, err := view.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil || resp.Status != want {
			t.Errorf("Check of %q: %v, %v; want %v", service, resp, err, want)
		}
	}
	list := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		resp, err := view.List(t.Context(), new(healthpb.HealthListRequest))
		if err != nil || len(resp.Statuses) != 2 || resp.Statuses["a"].Status != want {
			t.Errorf("List: %v, %v; want %v", resp, err, want)
		}
	}
	f.health.SetServingStatus("a", serving)
	dial(t, f.address).wantCall(t, "echo a", "a") // it is served
	check("a", serving)
	list(serving)
	d := drain(t, long)
	check("", notServing)
	check("a", notServing)
	list(notServing)
	if _, err := view.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("Check of an unknown service: %v", err)
	}
	if resp, err := f.health.Check(t.Context(), new(healthpb.HealthCheckRequest)); err != nil || resp.Status != serving {
		t.Errorf("the health.Server has changed: %v, %v", resp, err)
	}
	d.resume()
	check("", serving)
	check("a", serving)
	list(serving)
}

func TestHealthOfNil(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	grpcserve.Health(nil)
}
