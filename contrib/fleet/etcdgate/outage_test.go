//go:build linux

package etcdgate

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// shortRequest is how long a request may take in tests of answers that don't come.
const shortRequest = 300 * time.Millisecond

// A member waits while etcd does not answer, and says so once.
func TestEtcdIsCutOff(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	f := newFleet(t, c, &Gate{})
	f.release(f.image("a"), autorestart.GateReady, f.acquire(f.image("a"), "v1"), "v1")
	f.template.timeout = shortRequest // from now on: a busy machine may need longer
	c.Nodes[0].CutOff()
	b := f.ask(f.image("b"), "v1")
	testprocess.WaitFor(t, "line", func() bool { return f.log.has("etcd does not answer; the version that runs goes on serving") })
	c.Nodes[0].Reconnect()
	f.want(b)
	if log := f.log.String(); !strings.Contains(log, "INFO etcdgate: etcd answers again") || strings.Count(log, "does not answer") != 1 ||
		!strings.Contains(log, "since=") {
		t.Errorf("got\n%s", log)
	}
}

// After the Deadline the version is refused for now, or the restart begins.
func TestDeadline(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	f := newFleet(t, c, &Gate{timeout: shortRequest})
	bad := f.acquire(f.image("a"), "bad")
	f.release(f.image("a"), autorestart.GateRolledBack, bad, "v1")
	g := f.image("b")
	g.OnDeadline = Go
	f.wantRejected(f.ask(g, "bad"), "rolled back", true) // it knows now

	c.Nodes[0].CutOff()
	f.template.Deadline, g.Deadline = time.Second, time.Second
	f.wantRejected(f.ask(f.image("c"), "v1"), "no answer of etcd for 1s", true)
	f.wantRejected(f.ask(g, "bad"), "no answer of etcd", true)
	state := f.want(f.ask(g, "v1"))
	if !f.log.has("the restart begins without leave") {
		t.Errorf("got\n%s", f.log.String())
	}
	c.Nodes[0].Reconnect()
	f.release(f.image("b"), autorestart.GateReady, state, "v1")
	f.wantHolders("")
}

// The group learns of a rollback before the member asks for another version, whatever the Deadline is.
func TestRollbackHasNoDeadline(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	f := newFleet(t, c, &Gate{timeout: shortRequest, Deadline: time.Second, OnDeadline: Go})
	bad := f.acquire(f.image("a"), "bad")
	c.Nodes[0].CutOff()
	g := f.image("a")
	_, g.running = f.version("v1")
	released := make(chan error, 1)
	go func() {
		released <- g.Release(t.Context(), autorestart.GateResult{Outcome: autorestart.GateRolledBack, State: bad, Err: errNewer})
	}()
	if testprocess.Within(2*time.Second, func() bool { return len(released) > 0 }) {
		t.Errorf("Release has returned %v", <-released)
	}
	c.Nodes[0].Reconnect()
	if err, _ := testprocess.Receive(t, "end of Release", released); err != nil {
		t.Error(err)
	}
	f.wantRejected(f.ask(f.image("b"), "bad"), "rolled back", true)
	f.wantHolders("")
}

// The answer to the transaction that gives the slot is lost. The member finds that it has the slot.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	f := newFleet(t, c, &Gate{timeout: testprocess.Timeout})
	g := f.image("a")
	g.Client = c.Client()
	f.release(f.image("b"), autorestart.GateReady, f.acquire(f.image("b"), "v1"), "v1") // the document is there
	a := f.askAndLoseAnswer(c, g, "v1")
	c.Nodes[0].Reconnect()
	f.release(f.image("a"), autorestart.GateReady, f.want(a), "v1")
	f.wantHolders("")
}

// A restart has no use for the slot any more, and the answer to the transaction that gives it is lost. etcd
// can't be reached. The slot is given back once it can.
func TestSlotIsGivenBackLater(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	f := newFleet(t, c, &Gate{timeout: testprocess.Timeout})
	g := f.image("a")
	f.release(f.image("b"), autorestart.GateReady, f.acquire(f.image("b"), "v1"), "v1")
	a := f.askAndLoseAnswer(c, g, "v1")
	a.cancel(errNewer)
	testprocess.WaitFor(t, "end", func() bool { return isClosed(a.done) })
	if !errors.Is(a.err, errNewer) || a.state != nil {
		t.Errorf("got %s, %v", a.state, a.err)
	}
	c.Nodes[0].Reconnect()
	f.wantHolders("")
	_, hash := f.version("v1")
	if v := f.document().Versions[hash]; len(v.Canaries) != 0 {
		t.Errorf("it counts as a canary: %+v", v)
	}
	f.acquire(g, "v2")
}

// askAndLoseAnswer returns when etcd has given a slot, and the member does not know that. etcd has all the time that
// it needs: the member does not ask again while it waits for the answer.
func (f *testFleet) askAndLoseAnswer(c *etcdtest.Cluster, g *Gate, version string) *asked {
	f.Helper()
	direct := c.Direct(0)
	g.beforeGrant = sync.OnceFunc(c.Nodes[0].HoldAnswers)
	a := f.ask(g, version)
	testprocess.WaitFor(f, "slot", func() bool {
		ctx, cancel := testprocess.WithTimeout(f.Context(), time.Second)
		defer cancel()
		r, err := direct.Get(ctx, "/autorestart/web/state")
		return err == nil && strings.Contains(string(r.Kvs[0].Value), `"member": "`+g.Member+`"`)
	})
	c.Nodes[0].LoseAnswers()
	return a
}

// A context that ends while a member waits leaves nothing behind.
func TestCancelled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{})
	state := f.acquire(f.image("a"), "v1")
	b := f.ask(f.image("b"), "v1")
	f.waitUntilQueued("b")
	b.cancel(errNewer)
	testprocess.WaitFor(t, "end", func() bool { return isClosed(b.done) })
	if !errors.Is(b.err, errNewer) {
		t.Errorf("got %v", b.err)
	}
	testprocess.WaitFor(t, "empty queue", func() bool { return len(f.snapshot().Queue) == 0 })
	f.release(f.image("a"), autorestart.GateCalledOff, state, "v0")
	f.wantHolders("")
}
