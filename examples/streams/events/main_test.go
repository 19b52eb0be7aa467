//go:build linux

package main

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/examples/streams/internal/streamtest"
	"github.com/autorestart-go/autorestart/internal/daemontest"
)

func TestMain(m *testing.M) { daemontest.Main(m, map[string]func(){"events": main}) }

// connect returns the rest of a stream whose first event has come.
func connect(t *testing.T, address string) *bufio.Reader {
	t.Helper()
	conn := streamtest.Dial(t, address)
	io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: example\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); !strings.HasPrefix(line, "data: ") {
		t.Fatalf("%q, %v", line, err)
	}
	return r
}

// Each stream ends with a hint, and no event is cut. A client that reads nothing meanwhile does not
// change that.
func TestEachClientGetsHint(t *testing.T) {
	d, address := streamtest.Start(t, "events")
	for range 3 {
		hints := []string{"retry: 0", "retry: 2500", "retry: 5000", "retry: 7500"}
		var streams []*bufio.Reader
		for range hints {
			streams = append(streams, connect(t, address))
		}
		streamtest.WantQuickRestart(t, d)
		for i, r := range streams {
			rest, err := io.ReadAll(r)
			lines := strings.Split(strings.TrimSpace(string(rest)), "\n")
			if err != nil || !slices.Contains(hints, lines[len(lines)-1]) {
				t.Errorf("stream %d ends with %q, %v", i, rest, err)
			}
			hints = slices.DeleteFunc(hints, func(hint string) bool { return hint == lines[len(lines)-1] })
		}
	}
}
