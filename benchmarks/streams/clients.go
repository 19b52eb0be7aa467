//go:build linux

package streams

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/autorestart-go/autorestart/benchmarks/streams/greeting"
)

// An end is that of a WebSocket.
type end struct {
	server greeting.Greeting
	at     time.Time
	retry  time.Duration // that the close frame asks for
	again  time.Time     // when the client connected again
	err    error         // if there was no close frame
}

// clients keep one WebSocket each. They come back when the close frame says.
type clients struct {
	url    string
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	on   map[greeting.Greeting]int // open WebSockets of each server
	ends []end
}

func openClients(address string, n int) *clients {
	c := &clients{url: "ws://" + address + "/", on: map[greeting.Greeting]int{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for range n {
		c.wg.Go(c.run)
	}
	return c
}

func (c *clients) close() {
	c.cancel()
	c.wg.Wait()
}

// run keeps a WebSocket until the clients are closed.
func (c *clients) run() {
	for {
		e := c.stay()
		if c.ctx.Err() != nil {
			return
		}
		time.Sleep(e.retry)
		e.again = time.Now()
		c.mu.Lock()
		c.ends = append(c.ends, e)
		c.mu.Unlock()
	}
}

// stay is connected until the server ends that.
func (c *clients) stay() (e end) {
	conn, _, err := websocket.Dial(c.ctx, c.url, nil)
	if err != nil {
		return end{at: time.Now(), err: err}
	}
	defer conn.CloseNow()
	_, message, err := conn.Read(c.ctx)
	if err == nil {
		e.server, err = greeting.Parse(message)
	}
	if err == nil {
		c.count(e.server, +1)
		_, _, err = conn.Read(c.ctx)
		e.at = time.Now()
		c.count(e.server, -1)
	}
	var frame websocket.CloseError
	switch {
	case errors.As(err, &frame) && frame.Code == websocket.StatusServiceRestart:
		e.retry, e.err = greeting.ParseGoodbye(frame.Reason)
	default:
		e.err = fmt.Errorf("no close frame: %w", err)
	}
	return e
}

func (c *clients) count(server greeting.Greeting, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on[server] += n
}

// await waits until n clients have a WebSocket of one main process with that version, and returns
// its greeting.
func (c *clients) await(version, n int, limit time.Duration) (greeting.Greeting, error) {
	for began := time.Now(); time.Since(began) < limit; time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		for server, on := range c.on {
			if server.Version == version && !server.StandIn && on == n {
				c.mu.Unlock()
				return server, nil
			}
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return greeting.Greeting{}, fmt.Errorf("not %d clients with version %d for %v: %v", n, version, limit, c.on)
}

// takeEnds returns the ends of WebSockets whose clients come back, by the server that they had.
func (c *clients) takeEnds() map[greeting.Greeting][]end {
	c.mu.Lock()
	defer c.mu.Unlock()
	ends := map[greeting.Greeting][]end{}
	for _, e := range c.ends {
		ends[e.server] = append(ends[e.server], e)
	}
	c.ends = nil
	return ends
}

// openSilent opens a WebSocket whose client neither reads nor answers.
func openSilent(address string) (net.Conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(resp.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
