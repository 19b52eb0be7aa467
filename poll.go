package autorestart

import (
	"context"
	"errors"
	"time"
)

// defaultPollInterval is how often the path is looked at where events can't be
// had or trusted. Such a look costs one stat.
const defaultPollInterval = time.Second

// errDone is how the inside of this package says that its caller's context has
// ended. Contexts stop at the public methods: with package context come the
// formatting of times and the time zones, 80 KB that [RestartOnChange] has no
// use for.
var errDone = errors.New("autorestart: context ended")

// causeOf puts the cause of ctx's end in the place of errDone.
func causeOf(ctx context.Context, err error) error {
	if err == errDone {
		return context.Cause(ctx)
	}
	return err
}

// sleep returns nil after d, unless that is zero, or errDone if done is closed
// before.
func sleep(done <-chan struct{}, d time.Duration) error {
	if d == 0 {
		<-done
		return errDone
	}
	// Not NewTimer: its chan time.Time brings in what errDone keeps out.
	expired := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(expired) })
	var err error
	select {
	case <-expired:
	case <-done:
		err = errDone
	}
	timer.Stop()
	return err
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
