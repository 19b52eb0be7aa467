//go:build linux

package resumption

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A client makes a new connection for each request, and keeps its ticket.
type client struct {
	http.Client
	handshake time.Duration // the last one
	ticket    bool          // it has one
}

func newClient(i int) *client {
	c := new(client)
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	if i%2 == 0 {
		config.MaxVersion = tls.VersionTLS12
	}
	config.NextProtos = []string{"http/1.1"}
	if i%4 < 2 {
		config.NextProtos = []string{"h2"}
	}
	c.Transport = &http.Transport{
		ForceAttemptHTTP2: true,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := net.Dial(network, address)
			if err != nil {
				return nil, err
			}
			secure := tls.Client(conn, config)
			start := time.Now()
			err = secure.HandshakeContext(ctx)
			c.handshake = time.Since(start)
			return secure, err
		},
	}
	return c
}

// connect sends a request over a new connection.
func (c *client) connect(address string) (resumed bool, err error) {
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://" + address)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body) // the ticket comes before the response
	c.ticket = true
	return resp.TLS.DidResume, err
}

// parallel is the number of clients that connect at the same time.
const parallel = 4

// A round is one connection of each client.
type round struct {
	presented  int // tickets
	resumed    int
	failed     int
	handshakes []time.Duration
	serverCPU  time.Duration // of one connection
}

func connectAll(p *process, clients []*client) (r round, err error) {
	before, err := p.cpuTime()
	if err != nil {
		return r, err
	}
	next := make(chan *client)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for c := range next {
				presents := c.ticket
				resumed, err := c.connect(p.address)
				mu.Lock()
				r.add(presents, resumed, err, c.handshake)
				mu.Unlock()
			}
		})
	}
	for _, c := range clients {
		next <- c
	}
	close(next)
	wg.Wait()
	after, err := p.cpuTime()
	r.serverCPU = (after - before) / time.Duration(len(clients))
	return r, err
}

func (r *round) add(presents, resumed bool, err error, handshake time.Duration) {
	if err != nil {
		r.failed++
		return
	}
	if presents {
		r.presented++
	}
	if resumed {
		r.resumed++
	}
	r.handshakes = append(r.handshakes, handshake)
}
