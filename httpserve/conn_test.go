//go:build linux

package httpserve_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// client is a client with one connection.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func connect(t *testing.T, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Cleanup(testprocess.LimitIO(conn, time.Minute))
	return &client{conn, t, bufio.NewReader(conn)}
}

// handshake makes the client use TLS.
func (c *client) handshake() *client {
	c.t.Helper()
	conn := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return &client{conn, c.t, bufio.NewReader(conn)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// want returns the next response, which must have that body.
func (c *client) want(body string) *http.Response {
	c.t.Helper()
	resp, _ := c.wantOneOf(body)
	return resp
}

// wantOneOf returns the next response, which must have one of the bodies.
func (c *client) wantOneOf(bodies ...string) (resp *http.Response, body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("%v, expected %q", err, bodies)
	}
	b, err := io.ReadAll(resp.Body)
	if !slices.Contains(bodies, string(b)) || err != nil {
		c.t.Fatalf("%q, %v, expected %q", b, err, bodies)
	}
	return resp, string(b)
}

// wantAny reads the next response.
func (c *client) wantAny() {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// wantEnd checks that the connection has ended.
func (c *client) wantEnd() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("read %d, %v, expected the end", b, err)
	}
}

const askGeneration = "POST /generation HTTP/1.1\r\nHost: example\r\nContent-Length: 4\r\n\r\nbody"

func startWeb(t *testing.T, env ...string) (d *Daemon, address string) {
	t.Helper()
	d = Start(t, "web", append(env, networkEnv+"=tcp", addressEnv+"=127.0.0.1:0")...)
	return d, d.Want("ready")
}

// wantQuickDrain fails the test if the last drain took long enough to be a timeout.
func wantQuickDrain(t *testing.T, d *Daemon) {
	t.Helper()
	if drain, err := time.ParseDuration(d.Ask("drain", "drain")); err != nil || drain > 5*time.Second {
		t.Errorf("the drain took %v, %v", drain, err)
	}
}

func TestIdleConnectionsCross(t *testing.T) {
	d, address := startWeb(t)
	used, fresh, later := connect(t, address), connect(t, address), connect(t, address)
	used.send(askGeneration)
	used.want("0")
	for _, generation := range []string{"1", "2", "3"} {
		d.Restart()
		used.send(askGeneration) // before or after the exec
		fresh.send(askGeneration)
		d.Want("ready")
		if resp := used.want(generation); resp.Close {
			t.Error("the response says Connection: close")
		}
		fresh.want(generation)
		wantQuickDrain(t, d)
	}
	later.send(askGeneration)
	later.want("3")
}

func TestConnectionClosedDuringRestart(t *testing.T) {
	d, address := startWeb(t)
	conn, other := connect(t, address), connect(t, address)
	conn.send(askGeneration)
	conn.want("0")
	d.Ask("restart-off", "before")
	conn.Close()
	d.Ask("continue", "off")
	d.Restart()
	d.Want("ready")
	other.send(askGeneration)
	other.want("1")
}

// Idle connections cross a restart that begins before their readers have noticed that the last
// one was called off.
func TestRestartRightAfterOneThatWasCalledOff(t *testing.T) {
	d, address := startWeb(t)
	var idle []*client
	for range 50 {
		idle = append(idle, connect(t, address))
	}
	for generation := range 10 {
		d.Ask("restart-off", "before")
		d.Ask("continue", "off")
		d.Restart()
		d.Want("ready")
		for _, c := range idle {
			c.send(askGeneration)
			c.want(fmt.Sprint(generation + 1))
		}
	}
}

func TestConnectionsContinueWhenRestartIsCalledOff(t *testing.T) {
	d, address := startWeb(t)
	idle, fresh := connect(t, address), connect(t, address)
	idle.send(askGeneration)
	idle.want("0")
	for range 3 {
		d.Ask("restart-off", "before")
		late := connect(t, address)
		for _, c := range []*client{idle, fresh, late} {
			c.send(askGeneration)
			c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if b, err := c.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("read %q, %v before an exec", b, err)
			}
			c.SetReadDeadline(time.Time{})
		}
		d.Ask("continue", "off")
		for _, c := range []*client{idle, fresh, late} {
			if c.want("0").Close {
				t.Error("the response says Connection: close")
			}
		}
	}
	d.Restart()
	d.Want("ready")
	idle.send(askGeneration)
	idle.want("1")
}

func TestTLSConnectionsAreClosed(t *testing.T) {
	d, address := startWeb(t, certEnv+"="+writeCertificate(t))
	silent := connect(t, address)
	unused := connect(t, address).handshake()
	idle := connect(t, address).handshake()
	idle.send(askGeneration)
	idle.want("0")
	d.Restart()
	d.Want("ready")
	wantQuickDrain(t, d)
	for _, c := range []*client{silent, unused, idle} {
		c.wantEnd()
	}
	fresh := connect(t, address).handshake()
	fresh.send(askGeneration)
	fresh.want("1")
}

func TestWrappedListenerDrains(t *testing.T) {
	d, address := startWeb(t, listenerEnv+"=own")
	idle := connect(t, address)
	idle.send(askGeneration)
	idle.want("0")
	d.Restart()
	d.Want("ready")
	wantQuickDrain(t, d)
	fresh := connect(t, address)
	fresh.send(askGeneration)
	fresh.want("1")
}

func TestLongResponsesEndOnDraining(t *testing.T) {
	for _, path := range []string{"/events", "/hijack"} {
		d, address := startWeb(t)
		conn := connect(t, address)
		conn.send("GET " + path + " HTTP/1.1\r\nHost: example\r\n\r\n")
		read := func(until string) {
			t.Helper()
			for {
				line, err := conn.r.ReadString('\n')
				if err != nil {
					t.Fatalf("%s: %v, expected %q", path, err, until)
				}
				if strings.TrimSpace(line) == until {
					return
				}
			}
		}
		read("begin")
		d.Tell("restart")
		read("end")
		d.Want("start")
		d.Want("ready")
		wantQuickDrain(t, d)
	}
}

func TestRestartsLeakNoDescriptors(t *testing.T) {
	for _, env := range []string{"", certEnv + "=" + writeCertificate(t)} {
		d, address := startWeb(t, env)
		files := func() int {
			entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		var conns []*client
		for range 5 {
			conns = append(conns, connect(t, address))
		}
		d.Restart()
		d.Want("ready")
		before := files()
		for range 20 {
			for _, c := range conns {
				if env == "" {
					c.send(askGeneration)
					c.wantAny()
				}
			}
			d.Restart()
			d.Want("ready")
		}
		for _, c := range conns {
			c.Close()
		}
		WaitFor(t, "descriptors as before", func() bool { return files() <= before })
	}
}
