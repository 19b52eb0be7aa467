//go:build linux

package httpserve_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	preface       = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	emptySettings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

	// Two HEADERS frames, the second one without END_HEADERS.
	getRoot      = "\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x86\x84\x01\x01x"
	headersBegin = "\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82"
)

// handshakeHTTP2 makes the client use TLS with HTTP/2.
func (c *client) handshakeHTTP2() *client {
	c.t.Helper()
	conn := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return &client{conn, c.t, bufio.NewReader(conn)}
}

// startHTTP2 sends the preface, and returns when the server has acknowledged our SETTINGS.
func (c *client) startHTTP2() *client {
	c.t.Helper()
	c.send(preface + emptySettings)
	for {
		if kind, flags := c.readFrame(); kind == 4 && flags == 1 {
			return c
		}
	}
}

func (c *client) readFrame() (kind, flags byte) {
	c.t.Helper()
	var h [9]byte
	_, err := io.ReadFull(c.r, h[:])
	if err == nil {
		_, err = io.CopyN(io.Discard, c.r, int64(binary.BigEndian.Uint32(h[:])>>8))
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return h[3], h[4]
}

// wantTimeout reads the answer for a request whose header is not complete.
func (c *client) wantTimeout() {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("%v, expected 408", err)
	}
	if resp.StatusCode != http.StatusRequestTimeout || !resp.Close {
		c.t.Errorf("%v, Connection: close is %v", resp.Status, resp.Close)
	}
	c.wantEnd()
}

// A restart waits for work, and not for a client that has sent a part of a request, a
// frame or a handshake. Such a client gets an answer where HTTP has one.
func TestRestartDoesNotWaitForTheRestOfARequest(t *testing.T) {
	const half = "POST /generation HTT"
	secure := certEnv + "=" + writeCertificate(t)
	for name, test := range map[string]struct {
		env    string
		begin  func(*client) *client
		answer bool
	}{
		"TLS, next request": {secure, func(c *client) *client {
			c = c.handshake()
			c.send(askGeneration)
			c.want("0")
			c.send(half)
			return c
		}, true},
		"TLS, first request": {secure, func(c *client) *client {
			c = c.handshake()
			c.send(half)
			return c
		}, false},
		"TLS, half a handshake":  {secure, func(c *client) *client { c.send("\x16\x03\x01\x00\xff"); return c }, false},
		"TLS, half a preface":    {secure, func(c *client) *client { c = c.handshakeHTTP2(); c.send(preface[:10]); return c }, false},
		"TLS, no SETTINGS":       {secure, func(c *client) *client { c = c.handshakeHTTP2(); c.send(preface); return c }, false},
		"TLS, half a frame":      {secure, func(c *client) *client { c = c.handshakeHTTP2().startHTTP2(); c.send(headersBegin[:5]); return c }, false},
		"TLS, half a header":     {secure, func(c *client) *client { c = c.handshakeHTTP2().startHTTP2(); c.send(headersBegin); return c }, false},
		"HTTP/2, first request":  {http2Env + "=1", func(c *client) *client { c.send(half); return c }, true},
		"HTTP/2, half a preface": {http2Env + "=1", func(c *client) *client { c.send(preface[:10]); return c }, true},
		"HTTP/2, next request":   {http2Env + "=1", func(c *client) *client { c.send(askGeneration); c.want("0"); c.send(half); return c }, true},
		"HTTP/2, half a frame":   {http2Env + "=1", func(c *client) *client { c.startHTTP2().send(headersBegin[:5]); return c }, false},
		"HTTP/2, half a header":  {http2Env + "=1", func(c *client) *client { c.startHTTP2().send(headersBegin); return c }, false},
		"wrapped, first request": {listenerEnv + "=own", func(c *client) *client { c.send(half); return c }, true},
		"wrapped, next request":  {listenerEnv + "=own", func(c *client) *client { c.send(askGeneration); c.want("0"); c.send(half); return c }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, address := startWeb(t, test.env)
			c := test.begin(connect(t, address))
			later := connect(t, address) // once it is served, the other one is accepted
			if test.env == secure {
				later = later.handshake()
			}
			later.send(askGeneration)
			later.want("0")
			d.Restart()
			d.Want("ready")
			wantQuickDrain(t, d)
			if test.answer {
				c.wantTimeout()
				return
			}
			for { // of HTTP/2 frames
				if _, err := c.r.ReadByte(); err != nil {
					return
				}
			}
		})
	}
}

// A client can't delay a restart by a byte now and then.
func TestRestartDoesNotWaitForSlowHeaders(t *testing.T) {
	secure := certEnv + "=" + writeCertificate(t)
	for name, test := range map[string]struct {
		env   string
		begin func(*client) *client
		byte  string
	}{
		"TLS":       {secure, func(c *client) *client { c = c.handshake(); c.send(askGeneration); c.want("0"); return c }, "x"},
		"handshake": {secure, func(c *client) *client { c.send("\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb"); return c }, "x"},
		"HTTP/2":    {secure, func(c *client) *client { c = c.handshakeHTTP2().startHTTP2(); c.send("\x00\x3f\xff"); return c }, "\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, address := startWeb(t, test.env)
			c := test.begin(connect(t, address))
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					if _, err := io.WriteString(c, test.byte); err != nil {
						return
					}
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
				}
			}()
			defer func() { close(stop); <-stopped }()
			d.Restart()
			d.Want("ready")
			wantQuickDrain(t, d)
		})
	}
}

// A request whose header is complete is work.
func TestRestartWaitsForSlowBodies(t *testing.T) {
	for _, env := range []string{"", certEnv + "=" + writeCertificate(t), http2Env + "=1", listenerEnv + "=own"} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			d, address := startWeb(t, env)
			c := connect(t, address)
			if strings.HasPrefix(env, certEnv) {
				c = c.handshake()
			}
			c.send("POST /begun HTTP/1.1\r\nHost: example\r\nContent-Length: 4\r\n\r\nbo")
			d.Want("begun")
			d.Tell("restart")
			c.SetReadDeadline(time.Now().Add(700 * time.Millisecond)) // longer than a header may take
			if b, err := c.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("read %q, %v before the body was complete", b, err)
			}
			c.SetReadDeadline(time.Time{})
			c.send("dy")
			c.want("body")
			d.NextStart()
			d.Want("ready")
		})
	}
}

// An idle HTTP/2 connection is shut down by GOAWAY, with TLS and without.
func TestHTTP2ConnectionsGetGoAway(t *testing.T) {
	for _, env := range []string{certEnv + "=" + writeCertificate(t), http2Env + "=1"} {
		d, address := startWeb(t, env)
		c := connect(t, address)
		if strings.HasPrefix(env, certEnv) {
			c = c.handshakeHTTP2()
		}
		c.startHTTP2().send(getRoot)
		for _, flags := c.readFrame(); flags&1 == 0; _, flags = c.readFrame() { // END_STREAM
		}
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // longer than HTTP/1.1 may be idle
		if b, err := c.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read %q, %v after the response", b, err)
		}
		c.SetReadDeadline(time.Time{})
		d.Restart()
		d.Want("ready")
		for kind, _ := c.readFrame(); kind != 7; kind, _ = c.readFrame() {
		}
	}
}

// The next version does not accept parked connections from a listener that is wrapped, so
// this one closes them.
func TestIdleConnectionsOfWrappedListenerAreClosed(t *testing.T) {
	d, address := startWeb(t, listenerEnv+"=own")
	fresh, idle := connect(t, address), connect(t, address) // the first is accepted first
	idle.send(askGeneration)
	idle.want("0")
	d.Ask("restart-off", "before")
	idle.wantEnd()
	fresh.wantEnd()
	d.Ask("continue", "off")
}
