//go:build linux

package restart

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/restart/internal/daemon"
)

const (
	clients        = 8
	requestTimeout = time.Minute
	// pauseAfterLoss is the time that a client waits after a lost request, so that
	// the number of losses is not the number of immediate retries.
	pauseAfterLoss = 5 * time.Millisecond
)

// A load is a number of clients. Each sends one request after the other.
type load struct {
	sightings
	clients    []*client
	transports []*http.Transport
}

type client struct {
	http http.Client
	url  string
	name string
	sent int // requests so far
}

func newLoad(m mode, network, address string, roots *x509.CertPool) *load {
	l := new(load)
	for i := range clients {
		if i%m.clients == 0 {
			l.transports = append(l.transports, m.transport(network, address, roots))
		}
		l.clients = append(l.clients, &client{
			http: http.Client{Transport: l.transports[i/m.clients], Timeout: requestTimeout},
			url:  m.url(),
			name: fmt.Sprintf("client %d", i),
		})
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
		wg.Go(func() { phases[i] = c.run(&l.sightings, &over) })
	}
	err := f()
	elapsed := time.Since(began)
	over.Store(true)
	wg.Wait()
	return merge(phases, elapsed), err
}

// until lets the clients send requests until a daemon that was just started answers.
func (l *load) until(p *process) error {
	_, err := l.during(func() error { return p.await(&l.sightings, anyVersion) })
	return err
}

func (c *client) run(s *sightings, over *atomic.Bool) phase {
	p := phase{lost: make(losses)}
	for !over.Load() {
		began := time.Now()
		id, tries, err := c.request()
		p.latencies = append(p.latencies, time.Since(began))
		p.resent += max(0, tries-1)
		if errors.Is(err, errUnsent) {
			p.resent++
			continue
		}
		if err != nil {
			p.lost.add(err)
			time.Sleep(pauseAfterLoss)
			continue
		}
		s.saw(id)
	}
	return p
}

// request sends the next request. It returns the identity of the version that
// answered, and how many times net/http sent the request.
func (c *client) request() (id daemon.Identity, tries int, err error) {
	c.sent++
	method, want, body := http.MethodGet, []byte(nil), io.Reader(nil)
	unread := bytes.NewReader(nil)
	if c.sent%2 == 0 {
		method = http.MethodPost
		want = fmt.Appendf(nil, "%s, request %d, %0500d", c.name, c.sent, c.sent)
		unread = bytes.NewReader(want)
		body = struct{ io.Reader }{unread} // of a type that net/http can't read twice
	}
	req, err := http.NewRequest(method, c.url, body)
	if err != nil {
		return id, 0, err
	}
	req.ContentLength = int64(len(want))
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { tries++ },
	}))

	resp, err := c.http.Do(req)
	if err != nil && unread.Len() == len(want) && isUnsent(err) {
		err = errUnsent
	}
	if err != nil {
		return id, tries, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return id, tries, err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
		return id, tries, fmt.Errorf("%w: status %d, %d bytes of %d", errWrong, resp.StatusCode, len(got), len(want))
	}
	id, err = daemon.ParseIdentity(resp.Header.Get(daemon.IdentityHeader))
	if err != nil {
		return id, tries, fmt.Errorf("%w: %v", errWrong, err)
	}
	return id, tries, nil
}
