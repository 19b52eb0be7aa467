package grpcserve

import (
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// A version of package grpc that has other fields is found before a call is lost.
func TestOtherFieldsOfServer(t *testing.T) {
	type fake interface{ Drain(string) }
	for field, server := range map[string]any{
		"": new(grpc.Server),
		"mu": new(struct {
			mu    sync.RWMutex
			conns map[string]map[fake]bool
			opts  struct{ keepaliveParams keepalive.ServerParameters }
		}),
		"conns": new(struct {
			mu    sync.Mutex
			conns map[string]map[interface{ Drain() }]bool
			opts  struct{ keepaliveParams keepalive.ServerParameters }
		}),
		"opts.keepaliveParams": new(struct {
			mu    sync.Mutex
			conns map[string]map[fake]bool
			opts  struct{ keepaliveParams *keepalive.ServerParameters }
		}),
	} {
		_, err := fieldsOf(server)
		if field == "" {
			if err != nil {
				t.Errorf("version %s: %v", grpc.Version, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "another field "+field+";") || !strings.Contains(err.Error(), grpc.Version) {
			t.Errorf("another field %s: %v", field, err)
		}
	}
	for _, server := range []any{new(struct{}), new(struct{ mu sync.Mutex }), new(struct{ opts int })} {
		if _, err := fieldsOf(server); err == nil {
			t.Errorf("%T: no error", server)
		}
	}
}

// Transports with other fields are drained, but not counted.
func TestOtherFieldsOfTransport(t *testing.T) {
	for _, other := range []transport{&otherTransport{}, otherValue{}, &otherMutex{}} {
		server := &struct {
			mu    sync.Mutex
			conns map[string]map[transport]bool
			opts  struct{ keepaliveParams keepalive.ServerParameters }
		}{conns: map[string]map[transport]bool{"": {other: true}}}
		f, err := fieldsOf(server)
		if err != nil {
			t.Fatal(err)
		}
		f.drain()
		f.endPings(func(transport) bool { return true })
		if n := f.calls(); n != 0 {
			t.Errorf("%T: %d calls", other, n)
		}
		if o, ok := other.(*otherTransport); ok && o.drained != 1 {
			t.Errorf("drained %d times", o.drained)
		}
	}
}

type otherTransport struct{ drained int }

func (o *otherTransport) Drain(string) { o.drained++ }

type otherValue struct{}

func (otherValue) Drain(string) {}

type otherMutex struct {
	mu            sync.Mutex
	activeStreams int
	drainEvent    *int
}

func (o *otherMutex) Drain(string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.activeStreams, o.drainEvent = 1, new(int)
}

func TestUserTimeout(t *testing.T) {
	for _, tt := range []struct {
		params keepalive.ServerParameters
		want   time.Duration // 0 if it is not set
	}{
		{keepalive.ServerParameters{}, 20 * time.Second},
		{keepalive.ServerParameters{Time: time.Minute}, 20 * time.Second},
		{keepalive.ServerParameters{Timeout: 3 * time.Second}, 3 * time.Second},
		{keepalive.ServerParameters{Time: 1<<63 - 1, Timeout: time.Second}, 0},
	} {
		f, err := fieldsOf(grpc.NewServer(grpc.KeepaliveParams(tt.params)))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := f.userTimeout(); got != tt.want || ok != (tt.want != 0) {
			t.Errorf("%+v: %v, %v; want %v", tt.params, got, ok, tt.want)
		}
	}
}
