package httpserve

import (
	"net/http"
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	now := time.Now()
	ago := func(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }
	for name, test := range map[string]struct {
		view
		want time.Duration
	}{
		"idle for long":               {view{state: http.StateIdle, protocol: http1, since: ago(1000)}, 0},
		"just idle":                   {view{state: http.StateIdle, protocol: http1, since: ago(3)}, 7 * time.Millisecond},
		"idle, the next under way":    {view{state: http.StateIdle, protocol: http1, since: ago(1000), underWay: true, heard: ago(500)}, busy},
		"may rest":                    {view{state: http.StateIdle, protocol: http1, since: ago(1000), notOurs: true}, busy},
		"active":                      {view{state: http.StateActive, protocol: http1, since: ago(1000)}, busy},
		"active, HTTP/2":              {view{state: http.StateActive, protocol: http2, since: ago(1000)}, busy},
		"HTTP/2, told just now":       {view{state: http.StateIdle, protocol: http2, since: ago(1000), drain: ago(1)}, 9 * time.Millisecond},
		"HTTP/2, told, still talking": {view{state: http.StateIdle, protocol: http2, since: ago(1000), drain: ago(50), heard: ago(2), underWay: true}, 8 * time.Millisecond},
		"HTTP/2, told, silent":        {view{state: http.StateIdle, protocol: http2, since: ago(1000), drain: ago(50), heard: ago(20), underWay: true}, 0},
		"new":                         {view{state: http.StateNew, since: ago(10)}, 40 * time.Millisecond},
		"new for long":                {view{state: http.StateNew, since: ago(100)}, 0},
		"new, request under way":      {view{state: http.StateNew, since: ago(100), underWay: true, heard: ago(90)}, busy},
		"handshake":                   {view{state: http.StateNew, tls: true, since: ago(400), underWay: true, heard: ago(300), handshaking: true}, 700 * time.Millisecond},
		"handshake given up":          {view{state: http.StateNew, tls: true, since: ago(4000), underWay: true, heard: ago(3000), handshaking: true}, 0},
		"handshake over":              {view{state: http.StateNew, tls: true, since: ago(400), underWay: true, heard: ago(300)}, 0},
	} {
		if got := test.patience(now); got != test.want {
			t.Errorf("%s: %v, expected %v", name, got, test.want)
		}
	}
}
