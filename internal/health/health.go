// Package health decides whether a version that is ready is healthy, too: until its time for that
// is over, the program's own check is called now and then.
package health

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/report"
)

const (
	interval = time.Second      // from the return of a check to the next one
	timeout  = 10 * time.Second // of one check
)

// Checks are the calls of the function by which the program says whether it is healthy.
type Checks struct {
	drainers *drain.Group
	hook     drain.Hook
	once     sync.Once
	known    chan struct{} // closed when check is set
	check    func(context.Context) error
}

// New returns Checks that are not made while the group is drained: a program that accepts nothing
// can't answer itself.
func New(drainers *drain.Group) *Checks {
	return &Checks{drainers: drainers, known: make(chan struct{})}
}

// Use sets the function, unless it is nil. Calls after the first do nothing.
func (c *Checks) Use(check func(context.Context) error) {
	if check != nil {
		c.once.Do(func() {
			c.check = check
			close(c.known)
		})
	}
}

// Watch checks for the given time, and once when that is over. It returns at the first check that
// fails, and says why. Without a check it returns nil after that time.
func (c *Checks) Watch(d time.Duration) (unhealthy error) {
	over := time.NewTimer(d)
	defer over.Stop()
	last := false
	select {
	case <-c.known:
	case <-over.C:
		last = true
	}
	select {
	case <-c.known: // also if both were so
	default:
		return nil
	}
	for {
		if err := c.make(); err != nil || last {
			return err
		}
		pause := time.NewTimer(interval)
		select {
		case <-over.C:
			last = true
		case <-pause.C:
		}
		pause.Stop()
	}
}

// make makes one check. It is made again if it fails and the program was drained meanwhile.
func (c *Checks) make() error {
	for {
		drains := c.drainers.Begun() // first: one that begins right now counts
		c.drainers.AwaitEnd(context.Background())
		err := c.hook.CallWithin(context.Background(), timeout, c.check)
		if err == nil {
			return nil
		}
		c.drainers.AwaitEnd(context.Background())
		if c.drainers.Begun() != drains {
			continue
		}
		panicked, ok := err.(*drain.PanicError)
		switch {
		case ok:
			return errors.New("Check panicked: " + panicked.Text)
		case err == drain.ErrStuck:
			return errors.New("Check has not returned within " + timeout.String())
		default:
			return errors.New("Check failed: " + report.PanicText(err))
		}
	}
}
