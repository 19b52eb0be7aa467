package etcdgate

import (
	"context"
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
	owed chan struct{} // closed when a slot was given back; nil if there is none
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

// giveBackTime is how long a call waits until a slot was given back. After that, this goes on in the background.
const giveBackTime = 2 * time.Second

// owe has a slot given back. One call is under way at a time.
func (b *background) owe(giveBack func(context.Context)) {
	done := make(chan struct{})
	b.mu.Lock()
	b.owed = done
	b.mu.Unlock()
	b.run(func() {
		defer close(done)
		giveBack(b.context())
	})
	select {
	case <-done:
	case <-time.After(giveBackTime):
	}
}

// settle waits until nothing is owed.
func (b *background) settle(ctx context.Context) error {
	b.mu.Lock()
	owed := b.owed
	b.mu.Unlock()
	if owed == nil {
		return nil
	}
	select {
	case <-owed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *background) close() {
	b.context()
	b.cancel()
	b.running.Wait()
}

// sleep waits for some time, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
