//go:build linux

package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

// callLimit is how long a client waits for an answer. It is longer than a machine stands still, and
// than a restart.
const callLimit = time.Minute

// pauseAfterFailure keeps a client from counting the same failure thousands of times.
const pauseAfterFailure = 5 * time.Millisecond

// A load is clients that make calls all the time.
type load struct {
	target string
	ctx    context.Context // ends with the load
	cancel func()
	wg     sync.WaitGroup
	calls  []*atomic.Int64 // of each client

	mu     sync.Mutex
	failed map[string]int // by kind
}

// startLoad starts the clients.
func startLoad(target string) *load {
	l := &load{target: target, failed: map[string]int{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for range 2 {
		for _, call := range []func(context.Context, client, string) error{unary, stream} {
			l.start(call, true)
			l.start(call, false)
		}
	}
	return l
}

// start starts a client that makes calls of one kind, on one connection or each on a new one.
func (l *load) start(call func(context.Context, client, string) error, keep bool) {
	calls, name := new(atomic.Int64), len(l.calls)
	l.calls = append(l.calls, calls)
	l.wg.Go(func() {
		var c client
		for n := 0; l.ctx.Err() == nil; n++ {
			if n == 0 || !keep {
				var err error
				if c, err = newClient(l.target); err != nil {
					l.fail(err)
					return
				}
			}
			if err := l.make(call, c, fmt.Sprint(name, " ", n)); err != nil {
				l.fail(err)
				time.Sleep(pauseAfterFailure)
			}
			calls.Add(1)
			if !keep {
				c.Close()
			}
		}
		if keep {
			c.Close()
		}
	})
}

// make makes a call. A call that the end of the load cancels has not failed.
func (l *load) make(call func(context.Context, client, string) error, c client, body string) error {
	ctx, cancel := context.WithTimeout(l.ctx, callLimit)
	defer cancel()
	err := call(ctx, c, body)
	if l.ctx.Err() != nil && status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}

func unary(ctx context.Context, c client, body string) error {
	resp, err := c.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload(body)})
	if err == nil && string(resp.Payload.Body) != body {
		return errWrong
	}
	return err
}

var errWrong = errors.New("wrong answer")

// stream receives the messages of a stream until the server ends it.
func stream(ctx context.Context, c client, body string) error {
	s, err := c.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{Payload: payload(body)})
	if err != nil {
		return err
	}
	for received := 0; ; received++ {
		m, err := s.Recv()
		switch {
		case err == io.EOF && received > 0:
			return nil
		case err != nil:
			return err
		case string(m.Payload.Body) != body:
			return errWrong
		}
	}
}

func (l *load) fail(err error) {
	kind := err.Error()
	if s, ok := status.FromError(err); ok {
		kind = s.Code().String()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed[kind]++
}

// end ends the load.
func (l *load) end() {
	l.cancel()
	l.wg.Wait()
}

// awaitUnary waits until each client of unary calls has had an answer. Streams last until the next
// restart.
func (l *load) awaitUnary() error {
	var before []int64
	for _, c := range l.calls {
		before = append(before, c.Load())
	}
	for start := time.Now(); time.Since(start) < callLimit; time.Sleep(time.Millisecond) {
		all := true
		for i, c := range l.calls {
			if isUnary := i%4 < 2; isUnary && c.Load() <= before[i] {
				all = false
			}
		}
		if all {
			return nil
		}
	}
	return errors.New("a client gets no answers")
}

// made returns the number of calls.
func (l *load) made() (n int64) {
	for _, c := range l.calls {
		n += c.Load()
	}
	return n
}

// failures returns the number of calls that have failed, and of each kind.
func (l *load) failures() (n int, kinds string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(l.failed)) {
		n += l.failed[kind]
		parts = append(parts, fmt.Sprintf("%d %s", l.failed[kind], kind))
	}
	return n, strings.Join(parts, ", ")
}
