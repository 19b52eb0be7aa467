package httpserve

import (
	"net/http"
	"testing"
	"time"
)

func TestTimeout(t *testing.T) {
	now := time.Now()
	ago := func(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }
	for name, test := range map[string]struct {
		snapshot
		want time.Duration
	}{
		"idle for long":                 {snapshot{state: http.StateIdle, protocol: http1, since: ago(1000)}, 0},
		"just idle":                     {snapshot{state: http.StateIdle, protocol: http1, since: ago(3)}, 7 * time.Millisecond},
		"idle, next request started":    {snapshot{state: http.StateIdle, protocol: http1, since: ago(1000), started: true, lastRead: ago(500)}, noTimeout},
		"may be parked":                 {snapshot{state: http.StateIdle, protocol: http1, since: ago(1000), exempt: true}, noTimeout},
		"active":                        {snapshot{state: http.StateActive, protocol: http1, since: ago(1000)}, noTimeout},
		"active, HTTP/2":                {snapshot{state: http.StateActive, protocol: http2, since: ago(1000)}, noTimeout},
		"HTTP/2, GOAWAY just sent":      {snapshot{state: http.StateIdle, protocol: http2, since: ago(1000), drainStart: ago(1)}, 9 * time.Millisecond},
		"HTTP/2, GOAWAY, data since":    {snapshot{state: http.StateIdle, protocol: http2, since: ago(1000), drainStart: ago(50), lastRead: ago(2), started: true}, 8 * time.Millisecond},
		"HTTP/2, GOAWAY, no data since": {snapshot{state: http.StateIdle, protocol: http2, since: ago(1000), drainStart: ago(50), lastRead: ago(20), started: true}, 0},
		"new":                           {snapshot{state: http.StateNew, since: ago(10)}, 40 * time.Millisecond},
		"new for long":                  {snapshot{state: http.StateNew, since: ago(100)}, 0},
		"new, request started":          {snapshot{state: http.StateNew, since: ago(100), started: true, lastRead: ago(90)}, noTimeout},
		"handshake":                     {snapshot{state: http.StateNew, tls: true, since: ago(400), started: true, lastRead: ago(300), handshaking: true}, 700 * time.Millisecond},
		"handshake timed out":           {snapshot{state: http.StateNew, tls: true, since: ago(4000), started: true, lastRead: ago(3000), handshaking: true}, 0},
		"handshake over":                {snapshot{state: http.StateNew, tls: true, since: ago(400), started: true, lastRead: ago(300)}, 0},
	} {
		if got := test.timeout(now); got != test.want {
			t.Errorf("%s: %v, expected %v", name, got, test.want)
		}
	}
}
