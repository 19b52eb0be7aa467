package autorestarttest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/testclock"
)

// A Load is clients that send one request after the other to a daemon, until the test ends. Each
// request counts as answered or as lost. Over TLS there are exceptions, see [Daemon.Load].
type Load struct {
	daemon  *Daemon
	clients []*loadClient
	cancel  context.CancelFunc
	ended   sync.WaitGroup
}

// loadPause is between two requests of a client: the daemon gets CPUs, too.
const loadPause = time.Millisecond

// A loadClient is one client of a load.
type loadClient struct {
	name    string
	request func(context.Context) error
	done    atomic.Int64 // requests that were answered or lost

	mu        sync.Mutex
	lost      int
	firstLost []error // some
}

// maxFirstLost is how many errors of a client are kept.
const maxFirstLost = 3

// LoadFunc starts clients that call request, each one call after the other. A call that returns an
// error, or takes longer than [Program.Timeout], is a lost request. LoadFunc returns when each client
// has had an answer. If a first request fails, the test fails.
func (d *Daemon) LoadFunc(clients int, request func(ctx context.Context) error) *Load {
	d.t.Helper()
	if clients < 1 {
		d.t.Fatalf("autorestarttest: a load of %d clients", clients)
	}
	l := &Load{daemon: d}
	for n := range clients {
		l.clients = append(l.clients, &loadClient{name: fmt.Sprintf("client %d", n+1), request: request})
	}
	l.start()
	return l
}

func (l *Load) start() {
	l.daemon.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	for _, c := range l.clients {
		l.ended.Go(func() { c.run(ctx, l.daemon.program.timeout()) })
	}
	l.daemon.t.Cleanup(l.stop)
	l.awaitRequests(1)
	if n, text := l.lost(); n > 0 {
		l.daemon.fatal("no answer before the first deploy", text)
	}
}

func (c *loadClient) run(ctx context.Context, limit time.Duration) {
	for ; ctx.Err() == nil; time.Sleep(loadPause) {
		err := c.call(ctx, limit)
		if ctx.Err() != nil {
			return // it was cut off by the end of the load
		}
		if err != nil {
			c.lose(fmt.Errorf("%s at %s: %w", c.name, time.Now().Format(timeFormat), err))
		}
		c.done.Add(1)
	}
}

func (c *loadClient) call(ctx context.Context, limit time.Duration) error {
	limited, stop := testclock.WithTimeoutLooking(ctx, limit, time.Second)
	defer stop()
	return c.request(limited)
}

func (c *loadClient) lose(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost++
	if len(c.firstLost) < maxFirstLost {
		c.firstLost = append(c.firstLost, err)
	}
}

// awaitRequests waits until each client has made that many more requests.
func (l *Load) awaitRequests(more int64) {
	l.daemon.t.Helper()
	var want []int64
	for _, c := range l.clients {
		want = append(want, c.done.Load()+more)
	}
	// A request is lost after the timeout.
	if !testclock.Within(3*l.daemon.program.timeout(), func() bool {
		for n, c := range l.clients {
			if c.done.Load() < want[n] {
				return false
			}
		}
		return true
	}) {
		l.daemon.fatal("a request of the load does not return, although its context has ended", "")
	}
}

// stop ends the load. It may be called again. A request that ignores the end of its context is left
// behind.
func (l *Load) stop() {
	l.cancel()
	ended := make(chan bool)
	go func() {
		l.ended.Wait()
		close(ended)
	}()
	testclock.Within(l.daemon.program.timeout(), func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
}

// Requests returns how many requests were made so far.
func (l *Load) Requests() (n int) {
	for _, c := range l.clients {
		n += int(c.done.Load())
	}
	return n
}

// lost returns how many requests were lost, and the first errors.
func (l *Load) lost() (n int, text string) {
	var errs []error
	for _, c := range l.clients {
		c.mu.Lock()
		n += c.lost
		errs = append(errs, c.firstLost...)
		c.mu.Unlock()
	}
	if n == 0 {
		return 0, ""
	}
	return n, strings.ReplaceAll(errors.Join(errs...).Error(), "\n", "\n\t")
}

// WantNoneLost waits until each client has sent one more request, and ends the load. A request that
// was lost fails the test.
func (l *Load) WantNoneLost() {
	l.daemon.t.Helper()
	l.awaitRequests(2) // the first may have been under way
	l.stop()
	if n, text := l.lost(); n > 0 {
		l.daemon.fatal(fmt.Sprintf("%d of %d requests were lost", n, l.Requests()), text)
	}
}
