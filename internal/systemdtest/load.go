//go:build linux

package systemdtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Load is clients that send requests to a server in the machine: some on connections that they keep, and some
// on a new connection for each request.
type Load struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu       sync.Mutex
	requests int
	versions []string // the different bodies of responses, in the order in which they were first seen
	lost     []error
}

const (
	loadClients = 2 // of each kind
	loadPause   = time.Millisecond
)

// Load starts clients of an HTTP server that listens at an address of the machine, and waits until they have
// been served. The load ends with the test, or by Stop.
func (s *System) Load(t testing.TB, network, address string) *Load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel}
	for i := range 2 * loadClients {
		transport := &http.Transport{
			DisableKeepAlives: i%2 == 0,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return s.DialContext(ctx, network, address)
			},
		}
		l.ended.Go(func() {
			defer transport.CloseIdleConnections()
			for ; ctx.Err() == nil; time.Sleep(loadPause) {
				version, err := request(ctx, &http.Client{Transport: transport})
				if ctx.Err() == nil {
					l.count(version, err)
				}
			}
		})
	}
	t.Cleanup(func() { l.cancel(); l.ended.Wait() })
	l.Await(t, 4*loadClients)
	return l
}

// request sends a request that [http.Transport] can't send again if its connection ends.
func request(ctx context.Context, client *http.Client) (version string, err error) {
	ctx, stop := testprocess.WithTimeout(ctx, testprocess.Timeout)
	defer stop()
	body := io.MultiReader(strings.NewReader("a body that can't be sent again"))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://machine/", body)
	if err != nil {
		return "", err
	}
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, b)
	}
	return string(b), err
}

func (l *Load) count(version string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	switch {
	case err != nil:
		l.lost = append(l.lost, fmt.Errorf("%s: %w", time.Now().Format("15:04:05.000"), err))
	case !slices.Contains(l.versions, version):
		l.versions = append(l.versions, version)
	}
}

// Requests returns how many requests were sent, and the errors of those that got no response.
func (l *Load) Requests() (sent int, lost []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests, slices.Clone(l.lost)
}

// Await waits for that many further requests.
func (l *Load) Await(t testing.TB, more int) {
	t.Helper()
	before, _ := l.Requests()
	testprocess.WaitFor(t, "further requests", func() bool {
		now, _ := l.Requests()
		return now >= before+more
	})
}

// Stop ends the load. The test fails if a request was lost, or if the responses, which are the versions of
// the server, were other ones.
func (l *Load) Stop(t testing.TB, versions ...string) {
	t.Helper()
	l.cancel()
	l.ended.Wait()
	if len(l.lost) > 0 {
		t.Errorf("lost %d of %d requests; the first: %v", len(l.lost), l.requests, l.lost[0])
	}
	if !slices.Equal(l.versions, versions) {
		t.Errorf("the responses were of versions %q, expected %q", l.versions, versions)
	}
}
