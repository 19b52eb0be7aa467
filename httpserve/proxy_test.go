//go:build linux

package httpserve_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/sockets"
)

// proxyMain serves a backend, and a proxy before it; or before the backend of another process. The
// backend works until the proxy is drained.
func proxyMain() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	serve := func(order int, handler http.Handler) (address string) {
		c := sockets.Config{DrainOrder: order}
		ln := Must(c.Listen(context.Background(), "tcp", "127.0.0.1:0"))
		go func() { panic(httpserve.Serve(&http.Server{Handler: handler}, ln)) }()
		return ln.Addr().String()
	}
	backend := http.NewServeMux()
	backend.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	backend.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nbegin\n")
		<-autorestart.Draining()
		io.WriteString(conn, "end\n")
	})
	order, err := strconv.Atoi(os.Getenv(orderEnv))
	if err != nil {
		order = 10
	}
	own := serve(order, backend)
	target := os.Getenv(addressEnv)
	if target == "" {
		target = own
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target})
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 10}
	address := serve(0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Late") != "" {
			Say("late", "")
			<-autorestart.Draining()
		}
		proxy.ServeHTTP(w, r)
	}))
	autorestart.Ready()
	Say("ready", own+" "+address)
	timeout, _ := time.ParseDuration(os.Getenv(drainEnv))
	Obey(&autorestart.Restarter{Logger: slog.Default(), DrainTimeout: timeout}, nil)
}

// startProxy starts a proxy, and returns the addresses of its backend and of itself.
func startProxy(t *testing.T, env ...string) (d *Daemon, backend, address string) {
	t.Helper()
	d = Start(t, "proxy", env...)
	backend, address, _ = strings.Cut(d.Want("ready"), " ")
	return d, backend, address
}

// A reverse proxy loses no request, if it restarts together with its backend, and if either of them
// restarts alone.
func TestReverseProxyLosesNothing(t *testing.T) {
	front, backend, address := startProxy(t)
	other, _, otherAddress := startProxy(t, addressEnv+"="+backend)
	client := fresh(t)
	client.Transport.(*http.Transport).DisableKeepAlives = false
	defer client.CloseIdleConnections()
	all := []*posts{
		startPosts(t, 2, client, "http://"+address+"/echo"),
		startPosts(t, 2, client, "http://"+otherAddress+"/echo"),
		startPosts(t, 1, fresh(t), "http://"+otherAddress+"/echo"),
	}
	for i := range 12 {
		for _, p := range all {
			p.await()
		}
		d := []*Daemon{front, other}[i%2]
		d.Restart()
		d.Want("ready")
	}
	for _, p := range all {
		p.end()
	}
}

// In one process the backend has to work until the proxy is drained: a request comes to the backend
// when the drain has begun.
func TestProxyReachesBackendDuringDrain(t *testing.T) {
	const late = "POST /echo HTTP/1.1\r\nHost: example\r\nLate: 1\r\nContent-Length: 4\r\n\r\nbody"
	t.Run("higher DrainOrder", func(t *testing.T) {
		d, _, address := startProxy(t)
		c := connect(t, address)
		c.send(late)
		d.Want("late")
		d.Restart()
		d.Want("ready")
		c.want("body")
		if strings.Contains(d.Log(), "drain timeout") {
			t.Error("the drain took until its timeout")
		}
	})
	t.Run("same DrainOrder", func(t *testing.T) {
		d, _, address := startProxy(t, orderEnv+"=0", drainEnv+"=200ms")
		c := connect(t, address)
		c.send(late)
		d.Want("late")
		d.Restart()
		d.Want("ready")
		c.wantEnd()
		d.WantLogged("drain timeout: closing what is not done")
	})
}

const upgrade = "GET /upgrade HTTP/1.1\r\nHost: example\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n"

// upgraded returns a connection that is upgraded through a proxy.
func upgraded(t *testing.T, address string) *client {
	t.Helper()
	c := connect(t, address)
	c.send(upgrade)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	c.wantLine("begin")
	return c
}

func (c *client) wantLine(want string) {
	c.t.Helper()
	if line, err := c.r.ReadString('\n'); line != want+"\n" || err != nil {
		c.t.Fatalf("%q, %v, want %q", line, err, want)
	}
}

// The backend ends upgraded connections when its own process is drained. If only the proxy restarts,
// nothing tells the backend, and the connection is cut off after DrainTimeout.
func TestUpgradesThroughReverseProxy(t *testing.T) {
	front, backend, address := startProxy(t)
	other, _, otherAddress := startProxy(t, addressEnv+"="+backend, drainEnv+"=200ms")

	cut := upgraded(t, otherAddress)
	other.Restart()
	other.Want("ready")
	cut.wantEnd()
	other.WantLogged("drain timeout: closing what is not done")
	other.WantLogged("1 connection of tcp")

	through, direct := upgraded(t, otherAddress), upgraded(t, address)
	front.Tell("restart")
	for _, c := range []*client{through, direct} {
		c.wantLine("end")
		c.wantEnd()
		c.Close() // a proxy waits for both sides
	}
	front.NextStart()
	front.Want("ready")
	upgraded(t, otherAddress)
	upgraded(t, address)
}
