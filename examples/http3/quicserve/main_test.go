//go:build linux

package quicserve_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/examples/http3/quicserve"
	"github.com/autorestart-go/autorestart/httpserve"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	Main(m, map[string]func(){"serve": serveMain})
}

// serveMain is a daemon that answers with its generation.
func serveMain() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	r := &autorestart.Restarter{Logger: slog.Default()}
	proceed := make(chan bool)
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, autorestart.Generation())
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		Say("slow", "")
		<-proceed
		fmt.Fprint(w, autorestart.Generation())
	})
	transport := Must(quicserve.Listen(context.Background(), "127.0.0.1:0"))
	server := func() *http3.Server {
		config := &tls.Config{Certificates: []tls.Certificate{certificate()}}
		if err := httpserve.ResumeSessions("serve", config); err != nil {
			panic(err)
		}
		return &http3.Server{TLSConfig: http3.ConfigureTLSConfig(config)}
	}
	if autorestart.StandIn() { // it gets no commands
		autorestart.Ready()
		panic(quicserve.Serve(transport, server))
	}
	Say("open", transport.Conn.LocalAddr())
	autorestart.RegisterDrainer(announcer{})
	Obey(r, map[string]func(string){
		"serve": func(string) {
			go func() { Say("ended", quicserve.Serve(transport, server)) }()
			autorestart.Ready()
			Say("done", "")
		},
		"serve-without-goodbye": func(string) {
			s := server()
			listener := Must(transport.ListenEarly(s.TLSConfig, &quic.Config{}))
			go func() { Say("ended", s.ServeListener(listener)) }()
			autorestart.Ready()
			Say("done", "")
		},
		"limit":    func(arg string) { r.DrainTimeout = Must(time.ParseDuration(arg)); Say("done", "") },
		"continue": func(string) { proceed <- true },
		"trial":    func(string) { r.ReadyTimeout = time.Minute; Say("done", "") },
		"fail":     func(string) { Say("failed", autorestart.Rollback(errors.New("it fails"))) },
		"overlap":  func(string) { r.Overlap = true; Say("done", "") },
		"restart-off": func(string) {
			off := autorestart.Restarter{BeforeExec: func(context.Context, *autorestart.ExecPlan) error { return context.Canceled }}
			go func() { Say("off", off.Restart(context.Background())) }()
		},
	})
}

// An announcer says when the drain has begun: everything else is quiesced.
type announcer struct{}

func (announcer) Quiesce() {}
func (announcer) Resume()  {}
func (announcer) Drain(context.Context) error {
	Say("draining", "")
	return nil
}

func certificate() tls.Certificate {
	key := Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der := Must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// start starts the daemon, and returns its address.
func start(t *testing.T) (d *Daemon, address string) {
	t.Helper()
	d = Start(t, "serve")
	address = d.Want("open")
	d.Ask("serve", "done")
	return d, address
}

// restart restarts the daemon.
func restart(d *Daemon) {
	d.T.Helper()
	d.Tell("restart")
	d.Want("draining")
	d.NextStart()
	d.Want("open")
	d.Ask("serve", "done")
}

// idleTimeout is longer than any test waits: only a goodbye or a reset ends a connection.
const idleTimeout = time.Hour

// A client has one connection at a time.
type client struct {
	http.Client
	address string
	resumed bool // whether the connection of the last answer has resumed a TLS session
}

func newClient(t *testing.T, address string) *client {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	quicTransport := &quic.Transport{Conn: conn}
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		Dial: func(ctx context.Context, address string, t *tls.Config, config *quic.Config) (*quic.Conn, error) {
			config = config.Clone()
			config.MaxIdleTimeout = idleTimeout
			to, err := net.ResolveUDPAddr("udp", address)
			if err != nil {
				return nil, err
			}
			return quicTransport.Dial(ctx, to, t, config) // package quic-go has a data race in DialEarly if a session resumes
		},
	}
	t.Cleanup(func() {
		transport.Close()
		quicTransport.Close()
		conn.Close()
	})
	return &client{Client: http.Client{Transport: transport}, address: address}
}

// get returns the answer to a request.
func (c *client) get(path string) (string, error) {
	ctx, stop := testprocess.WithTimeout(context.Background(), Timeout)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.address+path, nil)
	if err != nil {
		return "", err
	}
	response, err := c.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	c.resumed = response.TLS.DidResume
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func (c *client) want(t *testing.T, path, want string) {
	t.Helper()
	if got, err := c.get(path); got != want || err != nil {
		t.Fatalf("%s answered %q, %v; want %q", path, got, err, want)
	}
}
