package autorestarttest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A client of the load finds each kind of lost request.
func TestLostRequests(t *testing.T) {
	hangUp := func(w http.ResponseWriter) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	}
	for name, test := range map[string]struct {
		method string
		second func(http.ResponseWriter) // the answer to the second request
		want   string                    // the error of the second request; empty for none
	}{
		"answered":                  {"POST", func(w http.ResponseWriter) {}, ""},
		"closed, which GET repeats": {"GET", hangUp, "the client has sent the request 2 times"},
		"closed":                    {"POST", hangUp, "EOF"},
		"cut off": {"GET", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("half"))
		}, "200 OK after 4 bytes of the body: unexpected EOF"},
		"error":          {"GET", func(w http.ResponseWriter) { http.Error(w, "draining", http.StatusServiceUnavailable) }, `503 Service Unavailable: "draining`},
		"another status": {"GET", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, `404 Not Found: ""; the first status was 200`},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body) // the client has sent everything
				if requests.Add(1) == 2 {
					test.second(w)
				}
			}))
			defer server.Close()
			c := httpClient{client: Program{}.client(true), method: test.method, url: server.URL}
			defer c.client.CloseIdleConnections()
			if err := c.request(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := c.request(t.Context())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A request that was sent in time on a new connection over TLS is lost when the server hangs up, however long
// that takes. After one that was sent late, the client begins again.
func TestLostRequestsOverTLS(t *testing.T) {
	type connKey struct{}
	for name, test := range map[string]struct {
		http2                  bool
		late, dialing, serving time.Duration // the limit, and how long the client and the server wait at first
		lost                   bool
	}{
		"HTTP/1.1":       {false, time.Second, 0, 1100 * time.Millisecond, true},
		"HTTP/2":         {true, time.Second, 0, 1100 * time.Millisecond, true},
		"HTTP/1.1, late": {false, lateAfter, 2 * lateAfter, 0, false},
		"HTTP/2, late":   {true, lateAfter, 2 * lateAfter, 0, false},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(name+", "+method, func(t *testing.T) {
				t.Parallel()
				var requests atomic.Int32
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					if r.ProtoAtLeast(2, 0) != test.http2 {
						t.Errorf("the server got %s", r.Proto)
					}
					if requests.Add(1) == 1 {
						time.Sleep(test.serving)
						r.Context().Value(connKey{}).(net.Conn).Close()
					}
				}))
				server.EnableHTTP2 = test.http2
				server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
					return context.WithValue(ctx, connKey{}, conn)
				}
				server.StartTLS()
				defer server.Close()
				config := server.Client().Transport.(*http.Transport).TLSClientConfig
				c := httpClient{client: Program{TLS: config}.client(false), method: method, url: server.URL, secure: true, lateAfter: test.late}
				c.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := c.dial(ctx, network, address)
					if requests.Load() == 0 {
						time.Sleep(test.dialing)
					}
					return conn, err
				}
				err := c.request(t.Context())
				if got := requests.Load(); (err != nil) != test.lost || (got == 1) != test.lost {
					t.Errorf("got %v, with %d requests", err, got)
				}
			})
		}
	}
}
