//go:build linux

package httpserve_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// get returns the body of a response of the daemon, by HTTP/2 if secure.
func get(t *testing.T, address, path string, secure bool) string {
	t.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: secure,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return testprocess.DialContext(ctx, "tcp", address)
		},
	}
	defer transport.CloseIdleConnections()
	url := "http://example"
	if secure {
		url = "https://example"
	}
	client := &http.Client{Transport: transport}
	resp, err := client.Get(url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || secure && resp.ProtoMajor != 2 {
		t.Fatalf("%s, %v", resp.Proto, err)
	}
	return string(b)
}

func testOverBoth(t *testing.T, test func(t *testing.T, d *Daemon, get func(path string) string)) {
	for _, secure := range []bool{false, true} {
		var env []string
		if secure {
			env = append(env, certEnv+"="+writeCertificate(t))
		}
		d, address := startWeb(t, env...)
		test(t, d, func(path string) string { return get(t, address, path, secure) })
	}
}

// A handler that calls Restart would be waited for by that restart.
func TestRestartInHandlerReturnsError(t *testing.T) {
	testOverBoth(t, func(t *testing.T, d *Daemon, get func(string) string) {
		for _, path := range []string{"/restart", "/restart-deep", "/restart-in-time"} {
			if got := get(path); !strings.HasPrefix(got, "true") || !strings.Contains(got, "call Restart in a goroutine") {
				t.Errorf("%s: the error is %q", path, got)
			}
		}
		if got := get("/generation"); got != "0" {
			t.Errorf("generation %s answers", got)
		}
	})
}

// The answer of a handler that asks for a restart goes out first.
func TestHandlerAsksForRestart(t *testing.T) {
	for _, path := range []string{"/restart-later", "/restart-via-exec"} {
		testOverBoth(t, func(t *testing.T, d *Daemon, get func(string) string) {
			if got := get(path); got != "restarting" {
				t.Errorf("%s: %q", path, got)
			}
			d.NextStart()
			d.Want("ready")
			wantQuickDrain(t, d)
			if got := get("/generation"); got != "1" {
				t.Errorf("%s: generation %s answers", path, got)
			}
		})
	}
}
