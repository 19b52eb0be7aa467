//go:build linux

package httpserve_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// beginRestart returns when the daemon is draining.
func beginRestart(d *Daemon) {
	d.T.Helper()
	d.Tell("report-draining")
	d.Tell("restart")
	d.Want("draining")
}

// wantNext waits for the next version, and checks that the connection is served by it.
func wantNext(d *Daemon, c *client) {
	d.T.Helper()
	d.NextStart()
	d.Want("ready")
	c.send(askGeneration)
	c.want("1")
}

const expectContinue = " HTTP/1.1\r\nHost: example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"

// wantContinue reads the response 100.
func (c *client) wantContinue() {
	c.t.Helper()
	const line = "HTTP/1.1 100 Continue\r\n\r\n"
	b := make([]byte, len(line))
	if _, err := io.ReadFull(c.r, b); string(b) != line || err != nil {
		c.t.Fatalf("%q, %v", b, err)
	}
}

// A client that waits for 100 when the drain begins gets it, and the response. Its connection
// crosses the exec.
func TestExpectContinue(t *testing.T) {
	for name, test := range map[string]func(d *Daemon, c *client){
		"before the handler reads": func(d *Daemon, c *client) {
			c.send("POST /late-echo" + expectContinue)
			d.Want("begun")
			beginRestart(d)
			c.wantContinue()
		},
		"after the handler reads": func(d *Daemon, c *client) {
			c.send("POST /begun" + expectContinue)
			d.Want("begun")
			c.wantContinue()
			beginRestart(d)
		},
		"on a connection that waits": func(d *Daemon, c *client) {
			slow := connect(d.T.(*testing.T), c.RemoteAddr().String())
			slow.send("POST /begun HTTP/1.1\r\nHost: example\r\nContent-Length: 4\r\n\r\n")
			d.Want("begun")
			beginRestart(d)
			c.send("POST /whole-echo" + expectContinue)
			slow.send("slow")
			slow.want("slow")
			c.wantContinue() // from the next version
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, address := startWeb(t)
			c := connect(t, address)
			test(d, c)
			c.send("body")
			c.want("body")
			wantNext(d, c)
		})
	}
}

// A client whose body is too large gets 413, and does not hold the restart up.
func TestBodyOverTheLimitDuringDrain(t *testing.T) {
	for _, env := range []string{"", certEnv + "=" + writeCertificate(t), listenerEnv + "=own"} {
		t.Run(env, func(t *testing.T) {
			d, address := startWeb(t, env)
			c := connect(t, address)
			if strings.HasPrefix(env, certEnv) {
				c = c.handshake()
			}
			const size = 3 * bodyLimit
			fmt.Fprintf(c, "POST /limited HTTP/1.1\r\nHost: example\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", bodyLimit))
			d.Want("begun")
			beginRestart(d)
			c.send(strings.Repeat("x", size-bodyLimit))
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
				t.Errorf("%s, Connection: close is %t", resp.Status, resp.Close)
			}
			d.NextStart()
			d.Want("ready")
			if got := get(t, address, "/generation", strings.HasPrefix(env, certEnv)); got != "1" {
				t.Errorf("generation %s answers", got)
			}
		})
	}
}

// Trailers of a request and its response that are sent during a drain arrive.
func TestTrailersDuringDrain(t *testing.T) {
	d, address := startWeb(t)
	c := connect(t, address)
	c.send("POST /trailers HTTP/1.1\r\nHost: example\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2\r\nbo\r\n")
	d.Want("begun")
	beginRestart(d)
	c.send("2\r\ndy\r\n0\r\nSum: 42\r\n\r\n")
	if resp := c.want("body"); resp.Trailer.Get("Sum") != "got 42" {
		t.Errorf("trailer %v", resp.Trailer)
	}
	wantNext(d, c)
}

// The same with HTTP/2, with TLS and without.
func TestTrailersDuringDrainOfHTTP2(t *testing.T) {
	for _, env := range []string{certEnv + "=" + writeCertificate(t), http2Env + "=1"} {
		d, address := startWeb(t, env)
		client, scheme := http2Client(t, address, env)
		body, sender := io.Pipe()
		request, err := http.NewRequest("POST", scheme+"://example/trailers", body)
		if err != nil {
			t.Fatal(err)
		}
		request.Trailer = http.Header{"Sum": {"42"}}
		answered := make(chan error, 1)
		go func() {
			resp, err := client.Do(request)
			if err == nil {
				var b []byte
				if b, err = io.ReadAll(resp.Body); string(b) != "body" || resp.Trailer.Get("Sum") != "got 42" || resp.ProtoMajor != 2 {
					err = fmt.Errorf("%s, %q, %v, %w", resp.Proto, b, resp.Trailer, err)
				}
			}
			answered <- err
		}()
		io.WriteString(sender, "bo")
		d.Want("begun")
		beginRestart(d)
		io.WriteString(sender, "dy")
		sender.Close()
		if err, _ := testprocess.Receive(t, "answer", answered); err != nil {
			t.Error(err)
		}
		d.NextStart()
		d.Want("ready")
	}
}

// An upload that outlasts DrainTimeout is cut off: its client gets an error, the log names the
// connection, and the next version reads nothing of it.
func TestUploadOutlastsDrainTimeout(t *testing.T) {
	d, address := startWeb(t, drainEnv+"=200ms")
	c := connect(t, address)
	c.send("POST /begun HTTP/1.1\r\nHost: example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
	d.Want("begun")
	beginRestart(d)
	d.NextStart()
	d.Want("ready")
	wantCut(t, d)
	// The server may have sent the beginning of the response. The rest of the upload fails.
	_, err := io.Copy(io.Discard, c.r)
	if err == nil {
		testprocess.WaitFor(t, "error of the upload", func() bool {
			_, err = io.WriteString(c, "4\r\nmore\r\n")
			return err != nil
		})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is open: %v", err)
	}
	next := connect(t, address)
	next.send(askGeneration)
	next.want("1")
}

func TestUploadByHTTP2OutlastsDrainTimeout(t *testing.T) {
	for _, env := range []string{certEnv + "=" + writeCertificate(t), http2Env + "=1"} {
		d, address := startWeb(t, env, drainEnv+"=200ms")
		client, scheme := http2Client(t, address, env)
		body, sender := io.Pipe()
		answered := make(chan error, 1)
		go func() {
			resp, err := client.Post(scheme+"://example/whole-echo-begun", "text/plain", body)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			answered <- err
		}()
		io.WriteString(sender, "begin")
		d.Want("begun")
		d.Restart()
		d.Want("ready")
		wantCut(t, d)
		if err, _ := testprocess.Receive(t, "end of the upload", answered); err == nil {
			t.Error("the upload that was cut off is answered")
		}
		sender.Close()
		if got := getText(t, client, scheme+"://example/generation"); got != "1" {
			t.Errorf("generation %s answers", got)
		}
	}
}

// wantCut checks that the log names what was cut off.
func wantCut(t *testing.T, d *Daemon) {
	t.Helper()
	d.WantLogged("drain timeout: closing what is not done; raise DrainTimeout to wait longer")
	d.WantLogged("1 connection of tcp")
	drain, err := time.ParseDuration(d.Ask("drain", "drain"))
	if err != nil || drain < 200*time.Millisecond {
		t.Errorf("drained for %v, %v", drain, err)
	}
}
