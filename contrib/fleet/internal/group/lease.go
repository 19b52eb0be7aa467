package group

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A Lease is one of etcd that is kept alive.
type Lease struct {
	ID   clientv3.LeaseID
	Lost <-chan struct{} // closed when the lease is not kept alive any more

	client *clientv3.Client
	cancel context.CancelFunc
}

// Keep gets a lease, and keeps it alive until ctx ends, [Lease.End] is called, or etcd has not answered
// for as long as the lease lives. A lease has whole seconds. The request has that context.
func (g *Group) Keep(ctx, request context.Context, ttl time.Duration) (*Lease, error) {
	granted, err := g.client.Grant(request, int64(max(1, (ttl+time.Second-1)/time.Second)))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	answers, err := g.client.KeepAlive(ctx, granted.ID)
	if err != nil {
		cancel()
		return nil, err
	}
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		for range answers {
		}
	}()
	return &Lease{granted.ID, lost, g.client, cancel}, nil
}

// End ends the lease, and with it the keys that have it. If etcd does not answer, they stay until the
// lease has run out.
func (l *Lease) End(ctx context.Context) {
	l.cancel()
	l.client.Revoke(ctx, l.ID)
}
