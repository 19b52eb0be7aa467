//go:build linux

// Package client has the clients of the benchmarks, and counts what they lose.
package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
)

const (
	requestTimeout = time.Minute

	// PauseAfterLoss is the time that a client waits after a lost request, so that
	// the number of losses is not the number of immediate retries.
	PauseAfterLoss = 5 * time.Millisecond
)

// A Client sends one request after the other.
type Client struct {
	HTTP http.Client
	URL  string
	Name string
	sent int // requests so far
}

// New returns a client. Clients may share a transport.
func New(name, url string, t *http.Transport) *Client {
	return &Client{HTTP: http.Client{Transport: t, Timeout: requestTimeout}, URL: url, Name: name}
}

// NewTransport returns a transport for the daemon at an address, without TLS. With close, each
// request has a connection of its own.
func NewTransport(network, address string, close bool) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		DisableKeepAlives:  close,
		DisableCompression: true,
	}
}

// Request sends the next request. It returns the identity of the version that
// answered, and how many times net/http sent the request.
func (c *Client) Request() (id daemon.Identity, tries int, err error) {
	c.sent++
	method, want, body := http.MethodGet, []byte(nil), io.Reader(nil)
	unread := bytes.NewReader(nil)
	if c.sent%2 == 0 {
		method = http.MethodPost
		want = fmt.Appendf(nil, "%s, request %d, %0500d", c.Name, c.sent, c.sent)
		unread = bytes.NewReader(want)
		body = struct{ io.Reader }{unread} // of a type that net/http can't read twice
	}
	req, err := http.NewRequest(method, c.URL, body)
	if err != nil {
		return id, 0, err
	}
	req.ContentLength = int64(len(want))
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { tries++ },
	}))

	resp, err := c.HTTP.Do(req)
	if err != nil && unread.Len() == len(want) && isUnsent(err) {
		err = ErrUnsent
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
		return id, tries, fmt.Errorf("%w: status %d, %d bytes of %d", ErrWrong, resp.StatusCode, len(got), len(want))
	}
	id, err = daemon.ParseIdentity(resp.Header.Get(daemon.IdentityHeader))
	if err != nil {
		return id, tries, fmt.Errorf("%w: %v", ErrWrong, err)
	}
	return id, tries, nil
}
