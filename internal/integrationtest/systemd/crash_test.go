//go:build linux && !autorestart_portable

package systemd_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// newCrashing starts a daemon of testdata/crashing.
func newCrashing(t *testing.T, name, address, options string) *daemon {
	t.Helper()
	d := &daemon{
		System: systemdtest.Machine(t), t: t,
		program: systemdtest.Build(t, "internal/integrationtest/systemd/testdata/crashing"),
		path:    "/srv/" + name + "/daemon", unit: name + ".service", network: "tcp", address: address,
	}
	d.deploy(1)
	t.Cleanup(func() { d.Remove(t, "/srv/"+name) })
	d.Unit(t, d.unit, d.crashingUnit(address, options))
	d.Run(t, "systemctl", "start", d.unit)
	return d
}

// crashingUnit is the text of its unit.
func (d *daemon) crashingUnit(address, options string) string {
	return "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStart=" + d.path + " -addresses=" + address +
		"\nRestart=always\nRestartSec=100ms\n" + options
}

// get requests a page on a connection of its own.
func (d *daemon) get(page string) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, d.network, d.address)
		},
	}}
	ctx, stop := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://machine"+page, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return string(b), err
}

// A daemon that crashes finds its listener and its state when systemd starts it again. Clients of the time
// in between wait.
func TestServiceThatCrashes(t *testing.T) {
	d := newCrashing(t, "crashing", "127.0.0.1:8100", "FileDescriptorStoreMax=20\n")
	for n, by := range []string{"kill", "panic", "exit", "segv", "kill"} {
		want := fmt.Sprint(n + 1)
		if got, err := d.get("/count"); got != want || err != nil {
			t.Fatalf("request %d: %q, %v", n+1, got, err)
		}
		d.get("/crash?by=" + by)
	}
	if got, err := d.get("/count"); got != "6" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A service that closes its listeners and takes a while to end finds them when systemd starts it again. A client that
// has connected meanwhile is served.
func TestServiceThatEndsSlowly(t *testing.T) {
	for _, stopping := range []bool{true, false} {
		t.Run(fmt.Sprintf("stopping=%t", stopping), func(t *testing.T) {
			d := newCrashing(t, fmt.Sprintf("ending-%t", stopping), "127.0.0.1:8101", "FileDescriptorStoreMax=20\n")
			if got, err := d.get("/count"); got != "1" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			by := "end"
			if stopping {
				by = "stop"
			}
			d.get("/crash?by=" + by)
			conn, err := d.Dial("tcp", d.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET /count HTTP/1.0\r\n\r\n")
			b, err := io.ReadAll(conn)
			if !strings.HasSuffix(string(b), "\r\n\r\n2") || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}
