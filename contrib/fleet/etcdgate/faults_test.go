//go:build linux

package etcdgate

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A process that was started while etcd can't be reached restarts without leave after the Deadline, if that was
// chosen. It has not told etcd by then how it was started.
func TestDeadlineWhileOutcomeIsNotTold(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	f := newFleet(t, c, &Gate{timeout: shortRequest, Deadline: time.Second, OnDeadline: Go})
	f.acquire(f.image("a"), "v1")
	c.Nodes[0].CutOff()
	g := f.image("a")
	_, g.running = f.version("v1")
	released := make(chan error, 1)
	go func() { released <- g.Release(t.Context(), autorestart.GateResult{Outcome: autorestart.GateReady}) }()
	if err, _ := testprocess.Receive(t, "end of Release", released); err == nil || !strings.Contains(err.Error(), "the attempts go on") {
		t.Errorf("Release has returned %v", err)
	}
	f.want(f.ask(g, "v2"))
	c.Nodes[0].Reconnect()
	f.wantHolders("")
}

// The same for a version that comes while a slot is to be given back.
func TestDeadlineWhileSlotIsGivenBack(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	f := newFleet(t, c, &Gate{timeout: shortRequest, Deadline: 2 * time.Second, OnDeadline: Go})
	g := f.image("a")
	f.release(f.image("b"), autorestart.GateReady, f.acquire(f.image("b"), "v1"), "v1")
	a := f.askAndLoseAnswer(c, g, "v1")
	a.cancel(errNewer)
	testprocess.WaitFor(t, "end", func() bool { return isClosed(a.done) })
	c.Nodes[0].CutOff()
	f.want(f.ask(g, "v2"))
}

// A version that was executed without a Gate, and is rolled back, is not known to the group.
func TestRollbackOfUnknownVersion(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{})
	f.release(f.image("a"), autorestart.GateReady, f.acquire(f.image("a"), "v1"), "v1")
	f.release(f.image("a"), autorestart.GateRolledBack, nil, "v1")
	if _, found := f.document().Versions[""]; found {
		t.Errorf("a version without a hash is in the document:\n%s\n%s", f.document().Bytes(), f.log.String())
	}
}

// Requests are answered, and a watch fails. The log does not grow without end, and etcd is not asked without a
// pause.
func TestWatchFails(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	f := newFleet(t, c, &Gate{timeout: shortRequest})
	state := f.acquire(f.image("a"), "v1")
	g := f.image("b")
	client := c.Client()
	client.Watcher = noWatch{client.Watcher}
	g.Client = client
	b := f.ask(g, "v1")
	f.waitUntilQueued("b")
	time.Sleep(3 * time.Second)
	if n := strings.Count(f.log.String(), "\n"); n > 10 {
		t.Errorf("%d lines in 3 seconds:\n%.2000s", n, f.log.String())
	}
	f.release(f.image("a"), autorestart.GateReady, state, "v1")
	f.want(b)
}

// A noWatch is a Watcher without permission.
type noWatch struct{ clientv3.Watcher }

func (w noWatch) Watch(context.Context, string, ...clientv3.OpOption) clientv3.WatchChan {
	c := make(chan clientv3.WatchResponse, 1)
	c <- clientv3.WatchResponse{Canceled: true}
	close(c)
	return c
}

// A canary is proven in the moment in which its member gets the next slot. The slot keeps its key of life.
func TestNextSlotWhileCanaryIsProven(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	f := newFleet(t, c, &Gate{Max: 1, Canaries: 1, HealthyFor: time.Second, VanishTimeout: time.Minute})
	client := c.Client()
	late := &lateAnswer{KV: client.KV, held: make(chan bool), release: make(chan bool)}
	client.KV = late
	g := f.image("a")
	g.Client = client
	f.release(g, autorestart.GateReady, f.acquire(f.image("a"), "v1"), "v1")
	late.hold.Store(true) // the next transaction of a write is that which proves the version
	<-late.held
	f.wantHolders("")
	next := f.ask(g, "v2")
	testprocess.Within(time.Second, func() bool { return isClosed(next.done) })
	close(late.release)
	f.want(next)
	time.Sleep(500 * time.Millisecond) // for the end of a lease
	if s := f.snapshot(); !s.IsAlive("a") {
		t.Errorf("the slot counts as free:\n%s", s.Document.Bytes())
	}
}

// lateAnswer holds up the answer to one transaction that has a condition.
type lateAnswer struct {
	clientv3.KV
	hold          atomic.Bool
	held, release chan bool
}

func (l *lateAnswer) Txn(ctx context.Context) clientv3.Txn { return &lateTxn{l.KV.Txn(ctx), l, false} }

type lateTxn struct {
	clientv3.Txn
	late  *lateAnswer
	write bool
}

func (x *lateTxn) If(c ...clientv3.Cmp) clientv3.Txn  { x.Txn.If(c...); x.write = true; return x }
func (x *lateTxn) Then(o ...clientv3.Op) clientv3.Txn { x.Txn.Then(o...); return x }

func (x *lateTxn) Commit() (*clientv3.TxnResponse, error) {
	r, err := x.Txn.Commit()
	if x.write && x.late.hold.CompareAndSwap(true, false) {
		close(x.late.held)
		<-x.late.release
	}
	return r, err
}

// Close may be called while a call ends.
func TestCloseWhileAcquireEnds(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{})
	f.acquire(f.image("z"), "v1")
	for i := range 20 {
		g := f.image(fmt.Sprint("a", i))
		ctx, cancel := context.WithCancel(t.Context())
		exe, _ := f.version("v1")
		done := make(chan bool)
		go func() { g.Acquire(ctx, change("v1"), exe); close(done) }()
		time.Sleep(10 * time.Millisecond)
		cancel()
		g.Close()
		<-done
	}
}
