// Package group has the keys of a group in etcd, and the transactions on them:
//
//	PREFIX/GROUP/state            the document, see package rollout
//	PREFIX/GROUP/waiting/MEMBER   a member that waits for a slot; on a lease
//	PREFIX/GROUP/alive/MEMBER     a member whose slot is free once this key is gone; on a lease
package group

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

// DefaultPrefix is where groups are if the user names no other place.
const DefaultPrefix = "/autorestart"

// A Group is the keys of a group.
type Group struct {
	client *clientv3.Client
	prefix string // ends with a slash
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

// CheckName says what is wrong with the name of a group or a member.
func CheckName(kind, name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%q is no name of a %s: letters, digits, dots, underscores and hyphens are allowed", name, kind)
	}
	return nil
}

// New returns the group of a name.
func New(client *clientv3.Client, prefix, name string) (*Group, error) {
	if client == nil {
		return nil, errors.New("there is no client of etcd")
	}
	if err := CheckName("group", name); err != nil {
		return nil, err
	}
	return &Group{client, strings.TrimSuffix(prefix, "/") + "/" + name + "/"}, nil
}

func (g *Group) state() string                { return g.prefix + "state" }
func (g *Group) waiting(member string) string { return g.prefix + "waiting/" + member }
func (g *Group) alive(member string) string   { return g.prefix + "alive/" + member }

// A Snapshot is what one revision of etcd has of a group.
type Snapshot struct {
	Document *rollout.Document // nil if there is none
	Queue    []rollout.Waiting // in the order in which they began to wait

	revision int64
	modified int64            // of the document; 0 if there is none
	created  map[string]int64 // of the members' keys in the queue
	alive    map[string]bool
}

// IsAlive reports whether a member's key of life is there.
func (s *Snapshot) IsAlive(member string) bool { return s.alive[member] }

// IsQueued reports whether a member's key is in the queue.
func (s *Snapshot) IsQueued(member string) bool { return s.created[member] != 0 }

// Explain returns the reason why a request has got no answer. The client waits for a connection, and does
// not say why there is none.
func (g *Group) Explain(ctx context.Context, err error) error {
	conn := g.client.ActiveConnection()
	if !errors.Is(err, context.DeadlineExceeded) || conn == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, reason := etcdserverpb.NewMaintenanceClient(conn).Status(ctx, &etcdserverpb.StatusRequest{}, grpc.WaitForReady(false))
	if status.Code(reason) == codes.Unavailable {
		return errors.New(status.Convert(reason).Message())
	}
	return err
}

// Read reads the group.
func (g *Group) Read(ctx context.Context) (*Snapshot, error) {
	r, err := g.client.Txn(ctx).Then(
		clientv3.OpGet(g.state()),
		clientv3.OpGet(g.waiting(""), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend)),
		clientv3.OpGet(g.alive(""), clientv3.WithPrefix(), clientv3.WithKeysOnly()),
	).Commit()
	if err != nil {
		return nil, err
	}
	s := &Snapshot{revision: r.Header.Revision, created: make(map[string]int64), alive: make(map[string]bool)}
	for _, kv := range r.Responses[0].GetResponseRange().Kvs {
		s.modified = kv.ModRevision
		if s.Document, err = rollout.Parse(kv.Value); err != nil {
			return nil, &DocumentError{err}
		}
	}
	for _, kv := range r.Responses[1].GetResponseRange().Kvs {
		var w rollout.Waiting
		member := strings.TrimPrefix(string(kv.Key), g.waiting(""))
		if json.Unmarshal(kv.Value, &w) == nil && w.Member == member { // not of another release
			s.Queue = append(s.Queue, w)
			s.created[member] = kv.CreateRevision
		}
	}
	for _, kv := range r.Responses[2].GetResponseRange().Kvs {
		s.alive[strings.TrimPrefix(string(kv.Key), g.alive(""))] = true
	}
	return s, nil
}

// A DocumentError says that the document can't be read. It does not pass by itself.
type DocumentError struct{ err error }

func (e *DocumentError) Error() string { return e.err.Error() }
func (e *DocumentError) Unwrap() error { return e.err }

// A Write is a change to the document, and what belongs to it.
type Write struct {
	Next    *rollout.Document
	Member  string           // on whose behalf; "" for an operator
	Leaves  bool             // the member's key in the queue has to be there, and goes
	Lives   clientv3.LeaseID // the member has a key of life with this lease; 0: it has none
	Remains bool             // the member's key of life stays as it is
}

// Write changes the document if it is still the one of the snapshot, and reports whether it was. After an
// error, the change may have taken place, or may still do so until the document is changed.
func (g *Group) Write(ctx context.Context, s *Snapshot, w Write) (bool, error) {
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(g.state()), "=", s.modified)}
	operations := []clientv3.Op{clientv3.OpPut(g.state(), string(w.Next.Bytes()))}
	if w.Leaves {
		key := g.waiting(w.Member)
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(key), "=", s.created[w.Member]))
		operations = append(operations, clientv3.OpDelete(key))
	}
	switch {
	case w.Lives != 0:
		operations = append(operations, clientv3.OpPut(g.alive(w.Member), "", clientv3.WithLease(w.Lives)))
	case w.Member != "" && !w.Remains:
		operations = append(operations, clientv3.OpDelete(g.alive(w.Member)))
	}
	r, err := g.client.Txn(ctx).If(conditions...).Then(operations...).Commit()
	if err != nil {
		return false, err
	}
	return r.Succeeded, nil
}

// Enqueue has a member wait, as long as the lease lives. A member that waits already keeps its place.
func (g *Group) Enqueue(ctx context.Context, w rollout.Waiting, lease clientv3.LeaseID) error {
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	_, err = g.client.Put(ctx, g.waiting(w.Member), string(b), clientv3.WithLease(lease))
	return err
}

// Await waits until something has changed since the snapshot that can give a waiting member a slot.
func (g *Group) Await(ctx context.Context, s *Snapshot) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for r := range g.client.Watch(ctx, g.prefix, clientv3.WithPrefix(), clientv3.WithRev(s.revision+1)) {
		switch err := r.Err(); {
		case errors.Is(err, rpctypes.ErrCompacted): // much has changed
			return nil
		case err != nil:
			return err
		}
		for _, event := range r.Events {
			if string(event.Kv.Key) == g.state() || event.Type == mvccpb.Event_DELETE {
				return nil
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("the watch has ended")
}
