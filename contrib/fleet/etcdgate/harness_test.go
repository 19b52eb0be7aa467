//go:build linux

package etcdgate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/group"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A testFleet is a group whose members are gates in the process of the test, which execute nothing.
type testFleet struct {
	*testing.T
	client   *clientv3.Client
	template *Gate // its fields are those of each member
	log      lines
}

func newFleet(t *testing.T, c *etcdtest.Cluster, template *Gate) *testFleet {
	f := &testFleet{T: t, client: c.Client(), template: template}
	f.template.Group, f.template.Service = "web", "example.com/web"
	return f
}

// lines are what the gates have logged.
type lines struct{ testprocess.Log }

func (l *lines) Info(msg string, args ...any)  { l.add("INFO", msg, args) }
func (l *lines) Warn(msg string, args ...any)  { l.add("WARN", msg, args) }
func (l *lines) Error(msg string, args ...any) { l.add("ERROR", msg, args) }

func (l *lines) add(level, msg string, args []any) {
	line := level + " " + msg
	for i := 0; i+1 < len(args); i += 2 {
		line += fmt.Sprintf(" %v=%v", args[i], args[i+1])
	}
	l.Write([]byte(line + "\n"))
}

func (l *lines) has(text string) bool { return strings.Contains(l.String(), text) }

// image returns the gate of an image of a member: a new one, as after each exec.
func (f *testFleet) image(member string) *Gate {
	g := &Gate{
		Client: f.template.Client, Prefix: f.template.Prefix, Group: f.template.Group, Member: member, Service: f.template.Service,
		Max: f.template.Max, Canaries: f.template.Canaries, HealthyFor: f.template.HealthyFor, WaitTTL: f.template.WaitTTL,
		VanishTimeout: f.template.VanishTimeout, Deadline: f.template.Deadline, OnDeadline: f.template.OnDeadline, Logger: &f.log,
		timeout: f.template.timeout,
	}
	if g.Client == nil {
		g.Client = f.client
	}
	f.Cleanup(func() { g.Close() })
	return g
}

// version returns the file of a version, and its hash.
func (f *testFleet) version(content string) (*os.File, string) {
	f.Helper()
	name := filepath.Join(f.TempDir(), "exe")
	if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
		f.Fatal(err)
	}
	exe, err := os.Open(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { exe.Close() })
	hash, err := hashOf(exe)
	if err != nil {
		f.Fatal(err)
	}
	return exe, hash
}

func change(version string) autorestart.Change {
	return autorestart.Change{Path: "/srv/web", New: autorestart.BuildInfo{ID: "build of " + version, Module: "example.com/web", Version: version}}
}

// acquire gets leave, which must be there at once.
func (f *testFleet) acquire(g *Gate, version string) []byte {
	f.Helper()
	ctx, cancel := testprocess.WithTimeout(f.Context(), testprocess.Timeout)
	defer cancel()
	exe, _ := f.version(version)
	state, err := g.Acquire(ctx, change(version), exe)
	if err != nil {
		f.Fatalf("%s, %s: %v\n%s", g.Member, version, err, f.log.String())
	}
	return state
}

// An asked is a call of Acquire.
type asked struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	state  []byte
	err    error
}

var errNewer = errors.New("another file is at the path")

// ask calls Acquire.
func (f *testFleet) ask(g *Gate, version string) *asked {
	ctx, cancel := context.WithCancelCause(f.Context())
	exe, _ := f.version(version)
	a := &asked{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.state, a.err = g.Acquire(ctx, change(version), exe)
	}()
	f.Cleanup(func() {
		cancel(context.Canceled)
		<-a.done
	})
	return a
}

// want waits until the call has returned a state.
func (f *testFleet) want(a *asked) []byte {
	f.Helper()
	testprocess.WaitFor(f, "leave", func() bool { return isClosed(a.done) })
	if a.err != nil {
		f.Fatalf("%v\n%s", a.err, f.log.String())
	}
	return a.state
}

// wantRejected waits until the call has returned a rejection, with a text in it.
func (f *testFleet) wantRejected(a *asked, text string, retryable bool) {
	f.Helper()
	testprocess.WaitFor(f, "rejection", func() bool { return isClosed(a.done) })
	rejected, ok := errors.AsType[*autorestart.RejectedError](a.err)
	if !ok || rejected.Retryable != retryable || !strings.Contains(rejected.Error(), text) {
		f.Fatalf("got %v; want a rejection with %q, retryable %v", a.err, text, retryable)
	}
}

// release tells the group of an outcome, with a gate of the version that runs.
func (f *testFleet) release(g *Gate, outcome autorestart.GateOutcome, state []byte, running string) {
	f.Helper()
	ctx, cancel := testprocess.WithTimeout(f.Context(), testprocess.Timeout)
	defer cancel()
	_, g.running = f.version(running)
	r := autorestart.GateResult{Outcome: outcome, State: state}
	if outcome == autorestart.GateRolledBack {
		r.Err = errors.New("it was not ready in time")
	}
	if err := g.Release(ctx, r); err != nil {
		f.Fatalf("%s: %v\n%s", g.Member, err, f.log.String())
	}
}

// document returns what the group has in etcd.
func (f *testFleet) document() *rollout.Document {
	f.Helper()
	return f.snapshot().Document
}

// snapshot asks again if a node has failed meanwhile.
func (f *testFleet) snapshot() (s *group.Snapshot) {
	f.Helper()
	g, err := group.New(f.client, "/autorestart", f.template.Group)
	if err != nil {
		f.Fatal(err)
	}
	if !testprocess.Within(testprocess.Timeout, func() bool {
		ctx, cancel := testprocess.WithTimeout(f.Context(), 2*time.Second)
		defer cancel()
		s, err = g.Read(ctx)
		return err == nil
	}) {
		f.Fatal(err)
	}
	return s
}

// holders returns the members that hold a slot.
func (f *testFleet) holders() (members string) {
	f.Helper()
	if d := f.document(); d != nil {
		for _, h := range d.Holders {
			members += h.Member + " "
		}
	}
	return strings.TrimSpace(members)
}

func (f *testFleet) wantHolders(want string) {
	f.Helper()
	testprocess.WaitFor(f, "slot of "+want, func() bool { return f.holders() == want })
}

// waitUntilQueued waits until a member waits.
func (f *testFleet) waitUntilQueued(member string) {
	f.Helper()
	testprocess.WaitFor(f, member+" in the queue", func() bool { return f.snapshot().IsQueued(member) })
}

// write changes the document, as an operator.
func (f *testFleet) write(s *group.Snapshot, next *rollout.Document) {
	f.Helper()
	g, err := group.New(f.client, "/autorestart", f.template.Group)
	if err != nil {
		f.Fatal(err)
	}
	if done, err := g.Write(f.Context(), s, group.Write{Next: next}); !done || err != nil {
		f.Fatalf("the document was not changed: %v", err)
	}
}
