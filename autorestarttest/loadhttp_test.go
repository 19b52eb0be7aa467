package autorestarttest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
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
