//go:build linux

package restart

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/client"
	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
)

const clients = 8

// A load is a number of clients. Each sends one request after the other.
type load struct {
	sightings
	clients    []*client.Client
	transports []*http.Transport
}

func newLoad(m mode, network, address string, roots *x509.CertPool) *load {
	l := new(load)
	for i := range clients {
		if i%m.clients == 0 {
			l.transports = append(l.transports, m.transport(network, address, roots))
		}
		l.clients = append(l.clients, client.New(fmt.Sprintf("client %d", i), m.url(), l.transports[i/m.clients]))
	}
	return l
}

func (l *load) close() {
	for _, t := range l.transports {
		t.CloseIdleConnections()
	}
}

// during lets the clients send requests until f returns. It returns the results of
// the requests, and the error of f.
func (l *load) during(f func() error) (phase, error) {
	var over atomic.Bool
	var wg sync.WaitGroup
	phases := make([]phase, len(l.clients))
	began := time.Now()
	for i, c := range l.clients {
		wg.Go(func() { phases[i] = run(c, &l.sightings, &over) })
	}
	err := f()
	elapsed := time.Since(began)
	over.Store(true)
	wg.Wait()
	return merge(phases, elapsed), err
}

// until lets the clients send requests until a daemon that was just started answers.
func (l *load) until(p *servers.Process) error {
	_, err := l.during(func() error { return await(p, &l.sightings, anyVersion) })
	return err
}

func run(c *client.Client, s *sightings, over *atomic.Bool) phase {
	p := phase{lost: make(client.Losses)}
	for !over.Load() {
		began := time.Now()
		id, tries, err := c.Request()
		p.latencies = append(p.latencies, time.Since(began))
		p.resent += max(0, tries-1)
		if errors.Is(err, client.ErrUnsent) {
			p.resent++
			continue
		}
		if err != nil {
			p.lost.Add(err)
			time.Sleep(client.PauseAfterLoss)
			continue
		}
		s.saw(id)
	}
	return p
}
