package watch

import (
	"context"
	"time"
)

// DefaultPollInterval is the time between two looks at the path where events can't be
// had or trusted. A look costs one stat.
const DefaultPollInterval = time.Second

// Sleep returns nil after d, unless d is zero, or the cause of the end of ctx if that
// comes first.
func Sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A Backoff is a delay that doubles with each use, from First to Last.
type Backoff struct {
	First, Last time.Duration
	current     time.Duration
}

// NewRetry returns the delays between attempts at something that may succeed soon.
func NewRetry() Backoff {
	return Backoff{First: 2 * time.Millisecond, Last: time.Second}
}

// Next returns the delay before the next attempt.
func (b *Backoff) Next() time.Duration {
	b.current = min(max(2*b.current, b.First), b.Last)
	return b.current
}

// Reset starts again with First.
func (b *Backoff) Reset() { b.current = 0 }
