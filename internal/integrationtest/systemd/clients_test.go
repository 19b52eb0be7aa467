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
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

	all []*client // but for queued ones

	mu       sync.Mutex
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
	pid   string // of the server that ends, in the machine
	watch testprocess.Stopwatch
	began time.Time // of watch: the server was last seen running then

	served, wall time.Duration // when the last client was, by both clocks
}

// newClients starts two clients of each kind for each address, and waits until they have been served.
func newClients(t *testing.T, d *daemon, addresses ...string) *clients {
	t.Helper()
	c := &clients{t: t, d: d, seen: map[uint64]bool{}}
	for _, address := range addresses {
		for i := range 4 {
			one := &client{address: address, kept: i%2 == 0}
			c.all = append(c.all, one)
			c.run(one, math.MaxInt)
		}
	}
	t.Cleanup(c.stop)
	c.await(4 * len(c.all))
	return c
}

// run runs a client, of that many requests.
func (c *clients) run(one *client, requests int) {
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
	case err == nil:
		c.wasAnswered(one, count, pid)
	case isCut(err):
		c.wasCut(one, err)
	default: // also one that is late
		c.failed(fmt.Errorf("no answer: %w", err))
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

// isCut reports whether a connection has ended before the response did.
func isCut(err error) bool {
	for _, cut := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, cut) {
			return true
		}
	}
	return false
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
	if count, err = strconv.ParseUint(string(body), 10, 64); err != nil {
		return 0, "", fmt.Errorf("%s: %w", response.Status, err)
	}
	return count, response.Header.Get("PID"), nil
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
	if c.outage != nil && c.outage.pid != pid && !one.served {
		c.outage.served, c.outage.wall = c.outage.watch.Elapsed(), time.Since(c.outage.began)
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

// during calls a function that ends the server, and waits until each client has been served by the next process. It
// returns how long after the end of the server the last client was, by the clock of tests and by the wall clock.
func (c *clients) during(end func()) (served, wall time.Duration) {
	c.t.Helper()
	pid := c.d.Property(c.t, c.d.unit, "MainPID")
	process, err := unix.PidfdOpen(c.d.process(), 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer unix.Close(process)
	c.mu.Lock()
	for _, one := range c.all {
		one.cut, one.served = false, false
	}
	c.outage = &outage{pid: pid, watch: testprocess.StartStopwatch(), began: time.Now()}
	c.mu.Unlock()
	var following sync.WaitGroup
	following.Go(func() { c.follow(process) })
	end()
	c.awaitNext(c.all)
	following.Wait()
	c.mu.Lock()
	served, wall = c.outage.served, c.outage.wall
	c.outage = nil
	c.mu.Unlock()
	c.check()
	return served, wall
}

// follow starts the watch of the outage again and again until a process has ended.
func (c *clients) follow(pidfd int) {
	for !c.stopped.Load() {
		watch, began := testprocess.StartStopwatch(), time.Now()
		poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 10); n > 0 || err != nil && err != unix.EINTR {
			return
		}
		c.mu.Lock()
		c.outage.watch, c.outage.began = watch, began
		c.mu.Unlock()
	}
}

// awaitNext waits until each of these clients has been served by the next process.
func (c *clients) awaitNext(all []*client) {
	c.t.Helper()
	testprocess.WaitFor(c.t, "responses of the next process to all clients", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, one := range all {
			if !one.served {
				return len(c.problems) > 0
			}
		}
		return true
	})
}

// queue has further clients connect in an outage, to all addresses in turn. The server accepts none of them any more, so that
// none may be cut.
func (c *clients) queue(n int) (queued []*client) {
	addresses := []string{c.all[0].address, c.all[len(c.all)-1].address}
	for i := range n {
		one := &client{address: addresses[i%len(addresses)], cut: true}
		if c.connect(one) {
			c.run(one, 1)
			queued = append(queued, one)
		}
	}
	return queued
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
