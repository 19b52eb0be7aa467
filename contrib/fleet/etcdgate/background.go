package etcdgate

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A background is what a Gate does after its calls have returned.
type background struct {
	begin   sync.Once
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	owed chan struct{} // closed when nothing is owed; nil if there never was anything
}

// context returns the context that close ends.
func (b *background) context() context.Context {
	b.begin.Do(func() { b.ctx, b.cancel = context.WithCancel(context.Background()) })
	return b.ctx
}

func (b *background) run(f func()) { b.running.Go(f) }

// briefly calls a function of which nothing depends.
func (b *background) briefly(f func(context.Context)) {
	b.run(func() {
		ctx, cancel := context.WithTimeout(b.context(), requestTimeout)
		defer cancel()
		f(ctx)
	})
}

// owe has something done that etcd has to know before the next restart, when what was owed before is done. The
// channel is closed at the end.
func (b *background) owe(f func(context.Context)) (done <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	earlier, end := b.owed, make(chan struct{})
	b.owed = end
	b.run(func() {
		defer close(end)
		if earlier != nil {
			<-earlier
		}
		f(b.context())
	})
	return end
}

// settle waits until nothing is owed.
func (b *background) settle(ctx context.Context, limit time.Duration) error {
	b.mu.Lock()
	owed := b.owed
	b.mu.Unlock()
	if owed == nil {
		return nil
	}
	return await(ctx, owed, limit)
}

// errLate is the error of await at its limit.
var errLate = fmt.Errorf("an earlier request has no answer: %w", context.DeadlineExceeded)

// await waits until done is closed, without a limit if that is zero.
func await(ctx context.Context, done <-chan struct{}, limit time.Duration) error {
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-done:
		return nil
	case <-late:
		return errLate
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *background) close() {
	b.context()
	b.cancel()
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
