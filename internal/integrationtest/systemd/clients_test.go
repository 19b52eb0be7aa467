//go:build linux && !autorestart_portable

package systemd_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Clients of testdata/crashing. Each sends one request after the other, on a connection that it keeps or on new ones.
//
// A client is cut if its connection ends before the response: the server had accepted the connection, and has ended. The
// kernel closes no connection in the queue of a listener that systemd has, too. A client that was cut connects again,
// and waits in that queue: the same end of the server can't cut it twice.
type clients struct {
	t       *testing.T
	d       *daemon
	stopped atomic.Bool
	ended   sync.WaitGroup

	mu       sync.Mutex
	all      []*client
	seen     map[uint64]bool // counts in responses
	highest  uint64          // of them
	answered int
	cut      int
	outage   *outage // nil while the server must not end
	problems []error
}

// A client is one of clients.
type client struct {
	address string
	kept    bool // it keeps its connection
	conn    net.Conn
	reader  *bufio.Reader

	cut, served bool // in the outage; served by the next process
}

// An outage begins before the server ends, and ends when each client was served again.
type outage struct {
	pid   string // of the server that ends
	watch testprocess.Stopwatch
	began time.Time

	served, wall time.Duration // when the first client was, by both clocks
}

// newClients starts two clients of each kind for each address, and waits until they have been served.
func newClients(t *testing.T, d *daemon, addresses ...string) *clients {
	t.Helper()
	c := &clients{t: t, d: d, seen: map[uint64]bool{}}
	for _, address := range addresses {
		for i := range 4 {
			c.start(&client{address: address, kept: i%2 == 0}, math.MaxInt)
		}
	}
	t.Cleanup(c.stop)
	c.await(4 * len(c.all))
	return c
}

// start starts a client, of that many requests.
func (c *clients) start(one *client, requests int) {
	c.mu.Lock()
	c.all = append(c.all, one)
	c.mu.Unlock()
	c.ended.Go(func() {
		defer one.disconnect()
		for ; requests > 0 && !c.stopped.Load(); time.Sleep(time.Millisecond) {
			if c.request(one) {
				requests--
			}
		}
	})
}

func (c *client) disconnect() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// request sends a request, and reports whether it was answered.
func (c *clients) request(one *client) bool {
	if one.conn == nil && !c.connect(one) {
		return false
	}
	defer testprocess.LimitIO(one.conn, testprocess.Timeout)()
	count, pid, err := exchange(one)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.failed(fmt.Errorf("a request has no answer: %w", err))
	case err != nil:
		c.wasCut(one, err)
	default:
		c.wasAnswered(one, count, pid)
	}
	if err != nil || !one.kept {
		one.disconnect()
	}
	return err == nil
}

// connect reports whether the client has connected.
func (c *clients) connect(one *client) bool {
	network := "tcp"
	if one.address[0] == '/' {
		network = "unix"
	}
	conn, err := c.d.Dial(network, one.address)
	if err != nil {
		c.failed(fmt.Errorf("refused: %w", err))
		return false
	}
	one.conn, one.reader = conn, bufio.NewReader(conn)
	return true
}

func exchange(one *client) (count uint64, pid string, err error) {
	if _, err := io.WriteString(one.conn, "GET /count HTTP/1.1\r\nHost: machine\r\n\r\n"); err != nil {
		return 0, "", err
	}
	response, err := http.ReadResponse(one.reader, nil)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", err
	}
	count, err = strconv.ParseUint(string(body), 10, 64)
	return count, response.Header.Get("PID"), err
}

func (c *clients) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, fmt.Errorf("%s: %w", time.Now().Format("15:04:05.000"), err))
	c.stopped.Store(true)
}

func (c *clients) wasCut(one *client, err error) {
	c.mu.Lock()
	wrong := c.outage == nil || one.cut
	one.cut = true
	c.cut++
	c.mu.Unlock()
	if wrong {
		c.failed(fmt.Errorf("a connection ended that the server had not accepted when it ended: %w", err))
	}
}

func (c *clients) wasAnswered(one *client, count uint64, pid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[count] {
		c.problems = append(c.problems, fmt.Errorf("the count went back: %d came twice", count))
	}
	c.seen[count] = true
	c.highest = max(c.highest, count)
	c.answered++
	if c.outage != nil && c.outage.pid != pid {
		if c.outage.served == 0 {
			c.outage.served, c.outage.wall = c.outage.watch.Elapsed(), time.Since(c.outage.began)
		}
		one.served = true
	}
}

// await waits for that many responses.
func (c *clients) await(more int) {
	c.t.Helper()
	until := -1
	testprocess.WaitFor(c.t, "further requests", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if until < 0 {
			until = c.answered + more
		}
		return c.answered >= until || len(c.problems) > 0
	})
	c.check()
}

// during calls a function that ends the server, waits until each client has been served by the next process, and
// returns after which time the first was, by the clock of tests and by the wall clock.
func (c *clients) during(end func()) (served, wall time.Duration) {
	c.t.Helper()
	pid := c.d.Property(c.t, c.d.unit, "MainPID")
	c.mu.Lock()
	for _, one := range c.all {
		one.cut, one.served = false, false
	}
	c.outage = &outage{pid: pid, watch: testprocess.StartStopwatch(), began: time.Now()}
	c.mu.Unlock()
	end()
	testprocess.WaitFor(c.t, "responses of the next process to all clients", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, one := range c.all {
			if !one.served {
				return len(c.problems) > 0
			}
		}
		return true
	})
	c.mu.Lock()
	served, wall = c.outage.served, c.outage.wall
	c.outage = nil
	c.mu.Unlock()
	c.check()
	return served, wall
}

// check fails the test at the first problem.
func (c *clients) check() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.problems) > 0 {
		c.t.Fatalf("%d of %d: %v", len(c.problems), c.answered+c.cut, c.problems[0])
	}
	// A request that was cut may have been counted.
	if c.highest > uint64(c.answered+c.cut+len(c.all)) {
		c.t.Fatalf("the count is %d after %d responses and %d requests that were cut", c.highest, c.answered, c.cut)
	}
}

func (c *clients) wereCut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

func (c *clients) stop() {
	c.stopped.Store(true)
	c.ended.Wait()
}

// forget removes the clients from the n-th on, which have ended.
func (c *clients) forget(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = c.all[:n]
}
