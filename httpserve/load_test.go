//go:build unix

package httpserve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestMain(m *testing.M) { Main(m, map[string]func(){"web": webMain}) }

const (
	networkEnv = "AUTORESTART_TEST_NETWORK"
	addressEnv = "AUTORESTART_TEST_ADDRESS"
	certEnv    = "AUTORESTART_TEST_CERT" // set: TLS with certificate and key of this name
)

func webMain() {
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	})
	ln := Must(sockets.Listen(os.Getenv(networkEnv), os.Getenv(addressEnv)))
	srv := new(http.Server)
	go func() {
		if cert := os.Getenv(certEnv); cert != "" {
			panic(httpserve.ServeTLS(srv, ln, cert+".pem", cert+".key"))
		}
		panic(httpserve.Serve(srv, ln))
	}()
	autorestart.Ready()
	t := autorestart.LastRestart()
	slog.Info("restart", "drain", t.Drained.Sub(t.Quiesced), "exec", t.Started.Sub(t.Executed), "ready", t.Ready.Sub(t.Started))
	Say("ready", ln.Addr())
	Obey(&autorestart.Restarter{Logger: slog.Default()}, nil)
}

func TestNoRequestIsLost(t *testing.T) {
	for _, tls := range []bool{false, true} {
		for _, network := range []string{"tcp", "unix"} {
			for _, keepAlive := range []bool{false, true} {
				if tls && !keepAlive {
					continue
				}
				t.Run(fmt.Sprintf("%s,tls=%v,keepalive=%v", network, tls, keepAlive), func(t *testing.T) {
					testLoad(t, network, tls, keepAlive)
				})
			}
		}
	}
}

func testLoad(t *testing.T, network string, secure, keepAlive bool) {
	const restarts, clients = 20, 4
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
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		env = append(env, certEnv+"="+writeCertificate(t))
	}
	d := Start(t, "web", env...)
	address := d.Want("ready")
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	client := &http.Client{Transport: transport, Timeout: Patience}
	stop := make(chan struct{})
	var done, slowest atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				// Of a reader that can't be rewound: nobody can repeat the request.
				body := strconv.Itoa(i) + " " + strconv.Itoa(n)
				start := time.Now()
				resp, err := client.Post(scheme+"://example/echo", "text/plain", requestBody(body, secure))
				if err != nil {
					t.Errorf("request %s: %v", body, err)
					continue
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(got) != body || err != nil {
					t.Errorf("request %s: answer %q, %v", body, got, err)
				}
				done.Add(1)
				slowest.Store(max(slowest.Load(), int64(time.Since(start))))
			}
		})
	}
	for range restarts {
		before := done.Load()
		WaitFor(t, "request", func() bool { return done.Load() > before+20 })
		d.Restart()
		d.Want("ready")
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests, the slowest %v", done.Load(), time.Duration(slowest.Load()))
	t.Log(d.Log())
}

func requestBody(body string, secure bool) io.Reader {
	if secure {
		return bytes.NewReader([]byte(body))
	}
	return io.MultiReader(bytes.NewReader([]byte(body)))
}
