//go:build linux

package http3

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// idleTimeout is that of the connections: when a client notices that no one answers.
const idleTimeout = 3 * time.Second

// A client sends one request after the other.
type client struct {
	conn          *distantConn
	quicTransport *quic.Transport
	transport     *http3.Transport
	url           string

	mu      sync.Mutex
	served  map[int]time.Time // when it got the first answer of each version, by generation
	answers map[int]int       // of each version
}

// clients are all clients of a server.
type clients struct {
	list     []*client
	stopping atomic.Bool
	running  sync.WaitGroup

	requests   atomic.Int64
	answers    atomic.Int64
	failed     atomic.Int64
	mu         sync.Mutex
	failures   map[string]error // the first of each kind
	unanswered []string         // the numbers of the requests that failed
}

func startClients(n int, address string) (*clients, error) {
	cs := &clients{failures: map[string]error{}}
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	for range n {
		conn, err := newDistantConn()
		if err != nil {
			cs.stop()
			return nil, err
		}
		c := &client{conn: conn, quicTransport: &quic.Transport{Conn: conn}, url: "https://" + address + "/", served: map[int]time.Time{}, answers: map[int]int{}}
		c.transport = &http3.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			Dial: func(ctx context.Context, _ string, t *tls.Config, config *quic.Config) (*quic.Conn, error) {
				config = config.Clone()
				config.MaxIdleTimeout = idleTimeout
				return c.quicTransport.DialEarly(ctx, to, t, config)
			},
		}
		cs.list = append(cs.list, c)
		cs.running.Go(func() { cs.run(c) })
	}
	return cs, nil
}

func (cs *clients) run(c *client) {
	for !cs.stopping.Load() {
		number := strconv.FormatInt(cs.requests.Add(1), 10)
		generation, err := c.get(number)
		if err != nil {
			cs.failed.Add(1)
			cs.mu.Lock()
			if text := err.Error(); cs.failures[text[strings.LastIndex(text, ": ")+1:]] == nil {
				cs.failures[text[strings.LastIndex(text, ": ")+1:]] = err
			}
			cs.unanswered = append(cs.unanswered, number)
			cs.mu.Unlock()
			continue
		}
		cs.answers.Add(1)
		c.mu.Lock()
		c.answers[generation]++
		if c.served[generation].IsZero() {
			c.served[generation] = time.Now()
		}
		c.mu.Unlock()
	}
}

// get sends the request with the number, and returns the generation of the version that answers.
func (c *client) get(number string) (generation int, err error) {
	response, err := (&http.Client{Transport: c.transport}).Get(c.url + number)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil {
		_, err = fmt.Sscan(string(body), &generation)
	}
	return generation, err
}

// stop ends the clients after their last requests.
func (cs *clients) stop() {
	cs.stopping.Store(true)
	cs.running.Wait()
	for _, c := range cs.list {
		c.transport.Close()
		c.conn.Close()
		c.quicTransport.Close()
	}
}

// servedBy returns when each client was served by a version for the first time. It returns false until
// each was served twice.
func (cs *clients) servedBy(generation int) (times []time.Time, all bool) {
	for _, c := range cs.list {
		c.mu.Lock()
		t, answers := c.served[generation], c.answers[generation]
		c.mu.Unlock()
		if answers < 2 {
			return nil, false
		}
		times = append(times, t)
	}
	return times, true
}
