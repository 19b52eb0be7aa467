package fleetlock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"sync/atomic"
	"time"
)

// An endpoint is a path below the base URL.
type endpoint string

const (
	preReboot   endpoint = "v1/pre-reboot"   // locks a slot
	steadyState endpoint = "v1/steady-state" // releases the slot, if the member holds one
)

// An identity is how the server knows a member.
type identity struct {
	ID    string `json:"id"`
	Group string `json:"group"`
}

var groupPattern = regexp.MustCompile(`^[a-zA-Z0-9.-]+$`) // of the protocol

func (i identity) check() error {
	switch {
	case i.ID == "":
		return errors.New("fleetlock: the field ID is empty; fleet.ID makes one")
	case !groupPattern.MatchString(i.Group):
		return fmt.Errorf("fleetlock: the field Group is %q; expected letters, digits, dots and hyphens", i.Group)
	}
	return nil
}

// requestTimeout limits a request, with the time in which the answer is read.
const requestTimeout = 10 * time.Second

// A server is a FleetLock server. It gets one request at a time from this process.
type server struct {
	base   *url.URL
	client *http.Client
	busy   chan struct{} // has an element while a request is under way
}

// newServer returns the server at a URL. A nil client is a client by default.
func newServer(rawURL string, client *http.Client) (*server, error) {
	base, err := url.Parse(rawURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		// The error of Parse has the URL in it, which may have a password.
		return nil, errors.New("fleetlock: the field URL is not the http or https URL of a server")
	}
	var own http.Client
	if client != nil {
		own = *client
	} else {
		own.Transport = defaultTransport()
	}
	// A redirect could lead the request anywhere, and most redirects turn a POST into a GET.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &server{base: base, client: &own, busy: make(chan struct{}, 1)}, nil
}

// defaultTransport is [http.DefaultTransport] with a limit for the header of a response. No connection
// stays open between two requests, because requests are rare.
func defaultTransport() http.RoundTripper {
	shared, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // the program has replaced it
		return http.DefaultTransport
	}
	own := shared.Clone()
	own.MaxResponseHeaderBytes = 64 << 10
	own.DisableKeepAlives = true
	return own
}

// post sends a request when the one before has ended, and returns its answer. If ctx ends first, post
// returns its cause, and a request that has begun goes on. If it were cut short, the server could
// still act on it, and do so after the next request.
func (s *server) post(ctx context.Context, e endpoint, from identity) (answer, error) {
	select {
	case s.busy <- struct{}{}:
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
	answered := make(chan answer, 1)
	go func() {
		defer func() { <-s.busy }()
		answered <- s.send(e, from)
	}()
	select {
	case a := <-answered:
		return a, nil
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

func (s *server) send(e endpoint, from identity) (a answer) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	body, err := json.Marshal(struct {
		ClientParams identity `json:"client_params"`
	}{from})
	if err != nil {
		return answer{err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base.JoinPath(string(e)).String(), bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("fleet-lock-protocol", "true")
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{sent: sent.Load(), err: err}
	}
	return readAnswer(resp)
}
