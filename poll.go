package autorestart

import (
	"context"
	"time"
)

// defaultPollInterval is how often the path is looked at where events can't be
// had or trusted. Such a look costs one stat.
const defaultPollInterval = time.Second

// sleep returns nil after d, unless that is zero, or the cause of ctx's end if
// that comes first.
func sleep(ctx context.Context, d time.Duration) error {
	var expired <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-expired:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newRetry is the pace at which something is tried again that may succeed soon.
func newRetry() backoff {
	return backoff{first: 2 * time.Millisecond, last: time.Second}
}

// backoff is a delay that doubles with each use, from first to last.
type backoff struct {
	first, last time.Duration
	current     time.Duration
}

func (b *backoff) next() time.Duration {
	b.current = min(max(2*b.current, b.first), b.last)
	return b.current
}

func (b *backoff) reset() { b.current = 0 }
