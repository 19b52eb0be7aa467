//go:build linux

package overlap

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/client"
	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
)

// maxPause is the longest pause of a client between two fast requests. Without pauses the clients
// alone would keep the CPUs busy, and how slow a request is would depend on the scheduler.
const maxPause = 4 * time.Millisecond

const baseURL = "http://localhost"

// An endpoint is where a server listens.
type endpoint struct{ network, address string }

// traffic is that of clients which send one request after the other.
type traffic struct {
	begun time.Time
	over  atomic.Bool
	wg    sync.WaitGroup

	mu       sync.Mutex
	clients  int
	requests []request
	lost     client.Losses
	resent   int // by net/http itself
}

func newTraffic() *traffic { return &traffic{begun: time.Now(), lost: make(client.Losses)} }

// fastTraffic begins the traffic of eight clients: two for each endpoint with a new connection for
// each request, and two that keep theirs.
func fastTraffic(endpoints []endpoint) *traffic {
	t := newTraffic()
	for _, e := range endpoints {
		for _, close := range []bool{true, true, false, false} {
			t.start(e, close, "/", maxPause)
		}
	}
	return t
}

// slowTraffic begins the traffic of a client for each endpoint, with answers that take long.
func slowTraffic(endpoints []endpoint, takes time.Duration) *traffic {
	t := newTraffic()
	for i, e := range endpoints {
		t.start(e, i%2 == 0, fmt.Sprintf("%s?for=%v", daemon.SlowPath, takes), time.Millisecond)
	}
	return t
}

// start has another client send requests until the traffic is over.
func (t *traffic) start(e endpoint, close bool, path string, pause time.Duration) {
	t.clients++
	c := client.New(fmt.Sprintf("client %d", t.clients), baseURL+path, client.NewTransport(e.network, e.address, close))
	t.wg.Go(func() {
		defer c.HTTP.CloseIdleConnections()
		for !t.over.Load() {
			if t.send(c) {
				time.Sleep(rand.N(pause))
			} else {
				time.Sleep(client.PauseAfterLoss)
			}
		}
	})
}

// send sends a request, and reports whether it was not lost.
func (t *traffic) send(c *client.Client) bool {
	began := time.Now()
	_, tries, err := c.Request()
	took := time.Since(began)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests = append(t.requests, request{began, took})
	t.resent += max(0, tries-1)
	if err != nil {
		t.lost.Add(err)
	}
	return err == nil
}

// end ends the traffic when the requests under way are answered.
func (t *traffic) end() {
	t.over.Store(true)
	t.wg.Wait()
}
