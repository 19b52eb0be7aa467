//go:build linux

package httpserve_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/standin"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// adminOrder is the DrainOrder of the admin server, and poolOrder that of what it uses.
const (
	adminOrder = 10
	poolOrder  = 20
)

// A pool stands for a database pool that all servers use.
type pool struct{ closed chan struct{} }

func (p *pool) DrainOrder() int             { return poolOrder }
func (p *pool) Quiesce()                    { close(p.closed) }
func (p *pool) Drain(context.Context) error { return nil }
func (p *pool) Resume()                     { p.closed = make(chan struct{}) }

func (p *pool) state() string {
	select {
	case <-p.closed:
		return "closed"
	default:
		return "open"
	}
}

// severalMain serves two sites, and an admin server that works until the sites are drained.
func severalMain() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	pool := &pool{make(chan struct{})}
	autorestart.RegisterDrainer(pool)
	draining := autorestart.Draining()
	echo := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if pool.state() != "open" {
			http.Error(w, "the pool is closed", http.StatusInternalServerError)
			return
		}
		w.Write(b)
	}
	var addresses []string
	serve := func(order int, handler http.Handler) {
		c := sockets.Config{DrainOrder: order}
		ln := Must(c.Listen(context.Background(), "tcp", "127.0.0.1:0"))
		addresses = append(addresses, ln.Addr().String())
		go func() { panic(httpserve.Serve(&http.Server{Handler: handler}, ln)) }()
	}
	site := http.NewServeMux()
	site.HandleFunc("/echo", echo)
	site.HandleFunc("/begun", func(w http.ResponseWriter, r *http.Request) {
		Say("begun", "")
		echo(w, r)
	})
	serve(0, site)
	serve(0, site)
	admin := http.NewServeMux()
	admin.HandleFunc("/echo", echo)
	admin.HandleFunc("/state", func(w http.ResponseWriter, _ *http.Request) {
		state := "serving"
		select {
		case <-draining:
			state = "draining"
		default:
		}
		fmt.Fprint(w, autorestart.Generation(), " ", state, " ", pool.state())
	})
	serve(adminOrder, admin)
	timeout, _ := time.ParseDuration(os.Getenv(drainEnv))
	r := &autorestart.Restarter{Logger: slog.Default(), DrainTimeout: timeout, Overlap: os.Getenv(overlapEnv) != ""}
	autorestart.Ready()
	if autorestart.StandIn() {
		r.Run(context.Background())
	}
	Say("ready", strings.Join(addresses, " "))
	Obey(r, map[string]func(string){
		"report-draining": func(string) {
			go func() {
				<-draining
				Say("draining", "")
			}()
		},
	})
}

// fresh returns a client that uses each connection once.
func fresh(t *testing.T) *http.Client {
	t.Helper()
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return testprocess.DialContext(ctx, network, address)
	}}}
}

// getText returns the body of a response.
func getText(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// The admin server answers until the others are drained, also new connections.
func TestAdminServerWorksUntilOthersAreDrained(t *testing.T) {
	d := Start(t, "several")
	addresses := strings.Fields(d.Want("ready"))
	site, admin := addresses[0], addresses[2]
	kept := connect(t, admin)
	const askState = "GET /state HTTP/1.1\r\nHost: example\r\n\r\n"
	kept.send(askState)
	kept.want("0 serving open")
	slow := connect(t, site)
	slow.send("POST /begun HTTP/1.1\r\nHost: example\r\nContent-Length: 4\r\n\r\nbo")
	d.Want("begun")
	d.Tell("report-draining")
	d.Tell("restart")
	d.Want("draining")
	waiting := connect(t, addresses[1])
	waiting.send("POST /echo HTTP/1.1\r\nHost: example\r\nContent-Length: 4\r\n\r\nbody")
	for range 5 {
		kept.send(askState)
		kept.want("0 draining open")
		if got := getText(t, fresh(t), "http://"+admin+"/state"); got != "0 draining open" {
			t.Errorf("a new connection gets %q", got)
		}
	}
	slow.send("dy")
	slow.want("body")
	d.NextStart()
	d.Want("ready")
	waiting.want("body")
	kept.send(askState)
	kept.want("1 serving open")
}

// When the time of a drain is up, the admin server is drained at once, and the next version serves.
func TestAdminServerIsDrainedWhenTheTimeIsUp(t *testing.T) {
	d := Start(t, "several", drainEnv+"=200ms")
	addresses := strings.Fields(d.Want("ready"))
	kept, slow := connect(t, addresses[2]), connect(t, addresses[0])
	slow.send("POST /begun HTTP/1.1\r\nHost: example\r\nContent-Length: 4\r\n\r\nbo")
	d.Want("begun")
	d.Restart()
	d.Want("ready")
	kept.send("GET /state HTTP/1.1\r\nHost: example\r\n\r\n")
	kept.want("1 serving open")
	if _, err := slow.r.ReadByte(); err == nil {
		t.Error("the request that was cut off is answered")
	}
	d.WantLogged("closing what is not done")
}

// Three servers, each under load: no request is lost, and none meets a closed pool.
func TestSeveralServersLoseNothing(t *testing.T) { testSeveralServers(t) }

// With a stand-in, each of them goes over when its turn comes.
func TestSeveralServersLoseNothingWithOverlap(t *testing.T) {
	if err := standin.Supported(); err != nil {
		t.Skip(err)
	}
	testSeveralServers(t, overlapEnv+"=1")
}

func testSeveralServers(t *testing.T, env ...string) {
	d := Start(t, "several", env...)
	addresses := strings.Fields(d.Want("ready"))
	var all []*posts
	for i, address := range addresses {
		client := fresh(t)
		if i%2 == 0 {
			client.Transport.(*http.Transport).DisableKeepAlives = false
		}
		defer client.CloseIdleConnections()
		all = append(all, startPosts(t, 2, client, "http://"+address+"/echo"))
	}
	for range 10 {
		for _, p := range all {
			p.await()
		}
		d.Tell("restart")
		for event := ""; event != "ready"; event, _ = d.Next() { // a stand-in starts, too
		}
	}
	for _, p := range all {
		p.end()
	}
	if len(env) > 0 {
		d.WantLogged("the stand-in serves")
	}
}
