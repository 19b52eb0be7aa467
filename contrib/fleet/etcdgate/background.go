package etcdgate

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A background is what a Gate does after its calls have returned.
type background struct {
	begin   sync.Once
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	owed   chan struct{} // closed when etcd was told of all; nil if there was nothing
}

// context returns the context that close ends.
func (b *background) context() context.Context {
	b.begin.Do(func() { b.ctx, b.cancel = context.WithCancel(context.Background()) })
	return b.ctx
}

// run calls f on a goroutine. After close, it calls f at once: the context of f has ended.
func (b *background) run(f func()) {
	b.mu.Lock()
	if !b.closed {
		b.running.Go(f)
		f = func() {}
	}
	b.mu.Unlock()
	f()
}

// briefly calls a function of which nothing depends.
func (b *background) briefly(f func(context.Context)) {
	b.run(func() {
		ctx, cancel := context.WithTimeout(b.context(), requestTimeout)
		defer cancel()
		f(ctx)
	})
}

// owe has etcd told of something, after what is owed so far. It waits for that until a limit, and reports
// whether it is done. Otherwise it goes on in the background.
func (b *background) owe(ctx context.Context, limit time.Duration, tell func(context.Context)) bool {
	done := make(chan struct{})
	b.mu.Lock()
	before := b.owed
	b.owed = done
	b.mu.Unlock()
	b.run(func() {
		defer close(done)
		if before != nil {
			select {
			case <-before:
			case <-b.context().Done():
			}
		}
		tell(b.context())
	})
	return b.settle(ctx, limit) == nil
}

// errOwed says that etcd has not been told of all yet.
var errOwed = errors.New("it does not know yet how the restart before has ended")

// settle waits until nothing is owed, or until a limit; zero: there is none.
func (b *background) settle(ctx context.Context, limit time.Duration) error {
	b.mu.Lock()
	owed := b.owed
	b.mu.Unlock()
	if owed == nil {
		return nil
	}
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-owed:
		return nil
	case <-late:
		return errOwed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *background) close() {
	b.context()
	b.cancel()
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.running.Wait()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
