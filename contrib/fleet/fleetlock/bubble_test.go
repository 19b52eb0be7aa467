package fleetlock_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/fleetlock"
)

const group = "web"

// A network leads to a server without a socket, so that package synctest sees who waits.
type network struct {
	http.Handler

	mu    sync.Mutex
	state networkState
}

type networkState struct {
	delay time.Duration // before a request has an effect
	down  bool          // no connection is made
	lose  bool          // no answer arrives
}

func (n *network) become(state networkState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = state
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	state := n.state
	n.mu.Unlock()
	if state.down {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	answered := make(chan *http.Response, 1)
	go func() {
		time.Sleep(state.delay)
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r.WithContext(context.Background()))
		if !state.lose {
			answered <- w.Result()
		}
	}()
	select {
	case resp := <-answered:
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// A bubble has members of one group, and their server. Use it inside of [synctest.Test].
type bubble struct {
	*testing.T
	*semaphore
	network
	log lines
}

func newBubble(t *testing.T, slots int) *bubble {
	b := &bubble{T: t, semaphore: newSemaphore(t, group, slots)}
	b.network.Handler = b.semaphore
	return b
}

func (b *bubble) gate(id string) *fleetlock.Gate {
	return &fleetlock.Gate{
		URL: "http://fleetlock.test", Group: group, ID: id, Logger: &b.log,
		Client: &http.Client{Transport: &b.network},
	}
}

var change = autorestart.Change{Path: "/usr/bin/web"}

// acquire wants leave within a time.
func (b *bubble) acquire(g *fleetlock.Gate, limit time.Duration) (state []byte) {
	b.Helper()
	state, err := b.try(g, limit)
	if err != nil {
		b.Fatalf("Acquire of %s: %v", g.ID, err)
	}
	return state
}

// try ends an Acquire after a time.
func (b *bubble) try(g *fleetlock.Gate, limit time.Duration) (state []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(b.Context(), limit, errOtherFile)
	defer cancel()
	return g.Acquire(ctx, change, nil)
}

var errOtherFile = errors.New("another file is at the path")

// wantWaits wants no leave within a time.
func (b *bubble) wantWaits(g *fleetlock.Gate, limit time.Duration) {
	b.Helper()
	if state, err := b.try(g, limit); err != errOtherFile {
		b.Errorf("Acquire of %s: state %s, %v; want none", g.ID, state, err)
	}
}

func (b *bubble) release(g *fleetlock.Gate, outcome autorestart.GateOutcome, state []byte) {
	b.Helper()
	if err := g.Release(b.Context(), autorestart.GateResult{Outcome: outcome, State: state}); err != nil {
		b.Errorf("Release of %s, %v: %v", g.ID, outcome, err)
	}
}

// wantTook compares the requests since the last call.
func (b *bubble) wantTook(want ...string) {
	b.Helper()
	if got := b.took(); !slices.Equal(got, want) {
		b.Errorf("the server took %q, want %q", got, want)
	}
}

// lines are those that a Gate has logged, as "message key=value".
type lines struct {
	mu   sync.Mutex
	list []string
}

func (l *lines) Info(msg string, args ...any)  { l.add(msg, args) }
func (l *lines) Warn(msg string, args ...any)  { l.add(msg, args) }
func (l *lines) Error(msg string, args ...any) { l.add(msg, args) }

func (l *lines) add(msg string, args []any) {
	for i := 0; i < len(args); i += 2 {
		msg += fmt.Sprintf(" %v=%v", args[i], args[i+1])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, msg)
}

// with returns the lines that begin with a text.
func (l *lines) with(begin string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.list {
		if strings.HasPrefix(line, begin) {
			found = append(found, line)
		}
	}
	return found
}

func (l *lines) String() string { return strings.Join(l.with(""), "\n") }
