//go:build linux

package httpserve_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestNoRequestIsLost(t *testing.T) {
	for _, tls := range []bool{false, true} {
		for _, network := range []string{"tcp", "unix"} {
			for _, keepAlive := range []bool{false, true} {
				if tls && !keepAlive {
					continue
				}
				t.Run(fmt.Sprintf("%s,tls=%v,keepalive=%v", network, tls, keepAlive), func(t *testing.T) {
					restarts := 20
					if testing.Short() {
						restarts = 5
					}
					testLoad(t, network, tls, keepAlive, restarts, func(d *Daemon, _ func()) {
						if network != "unix" {
							d.Restart() // by command
							return
						}
						d.Tell("watch")
						d.Deploy()
						d.Want("start")
					})
				})
			}
		}
	}
}

// http2Client returns a client that speaks HTTP/2 with a daemon that has the given variable: over
// TLS, or without.
func http2Client(t *testing.T, address, env string) (client *http.Client, scheme string) {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return testprocess.DialContext(ctx, "tcp", address)
	}
	if strings.HasPrefix(env, certEnv) {
		transport.Protocols.SetHTTP2(true)
		return &http.Client{Transport: transport}, "https"
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: transport}, "http"
}

// HTTP/2 without TLS, as [http.Protocols] has it.
func TestNoRequestByUnencryptedHTTP2IsLost(t *testing.T) {
	d, address := startWeb(t, http2Env+"=1")
	client, scheme := http2Client(t, address, "")
	posts := startPosts(t, 4, client, scheme+"://example/echo")
	for range 10 {
		posts.await()
		d.Restart()
		d.Want("ready")
	}
	posts.end()
}

// A version that has served is rolled back because it is not healthy.
func TestNoRequestIsLostByUnhealthyVersion(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", tls), func(t *testing.T) {
			testLoad(t, "tcp", tls, true, 3, func(d *Daemon, awaitRequests func()) {
				d.Deploy() // a version that has failed is not executed again
				d.Ask("health 1h", "done")
				d.Restart()
				d.Want("ready")
				awaitRequests()
				d.Tell("fail")
				d.NextStart()
			})
		})
	}
}

// testLoad has clients send requests while the daemon is restarted a number of times. restart
// returns when the last image has started.
func testLoad(t *testing.T, network string, secure, keepAlive bool, restarts int, restart func(d *Daemon, awaitRequests func())) {
	const clients = 4
	env := []string{networkEnv + "=" + network}
	if network == "unix" {
		env = append(env, addressEnv+"="+filepath.Join(t.TempDir(), "socket"))
	} else {
		env = append(env, addressEnv+"=127.0.0.1:0")
	}
	transport := &http.Transport{DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: clients, ForceAttemptHTTP2: secure}
	scheme := "http"
	if secure {
		scheme = "https"
		env = append(env, certEnv+"="+writeCertificate(t))
	}
	d := Start(t, "web", env...)
	address := d.Want("ready")
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	transport.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return testprocess.DialHandshake(ctx, network, address, func(conn net.Conn) (net.Conn, error) {
			c := tls.Client(conn, config)
			return c, c.HandshakeContext(ctx)
		})
	}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return testprocess.DialContext(ctx, network, address)
	}
	posts := startPosts(t, clients, &http.Client{Transport: transport}, scheme+"://example/echo")
	var longestDrain time.Duration
	for range restarts {
		posts.await()
		restart(d, posts.await)
		d.Want("ready")
		drain, err := time.ParseDuration(d.Ask("drain", "drain"))
		if err != nil {
			t.Fatal(err)
		}
		longestDrain = max(longestDrain, drain)
	}
	posts.end()
	t.Logf("the longest drain took %v", longestDrain)
}
