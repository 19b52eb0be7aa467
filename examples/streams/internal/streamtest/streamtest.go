//go:build linux

// Package streamtest restarts the examples, and has clients that do not behave.
package streamtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Start starts an example, which is a daemon of the test binary, and returns its address.
func Start(t *testing.T, name string) (d *daemontest.Daemon, address string) {
	t.Helper()
	d = daemontest.New(t, name)
	d.Cmd.Args = append(d.Cmd.Args, "-addr", "127.0.0.1:0")
	d.Start()
	listening := regexp.MustCompile(`listening on (\S+)`)
	daemontest.WaitFor(t, "address", func() bool {
		match := listening.FindStringSubmatch(d.Log())
		if match != nil {
			address = match[1]
		}
		return match != nil
	})
	return d, address
}

// WantQuickRestart deploys the next version, and fails the test unless it runs within a Grace of a
// second and what else a restart takes. Libraries wait longer for clients that do not answer.
func WantQuickRestart(t *testing.T, d *daemontest.Daemon) {
	t.Helper()
	watch := testprocess.StartStopwatch()
	d.Deploy()
	d.WantRestart(d.Last.Version + 1)
	if took := watch.Elapsed(); took > 4*time.Second {
		t.Errorf("the restart took %v", took)
	}
}

// Dial connects to an example.
func Dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Cleanup(testprocess.LimitIO(conn, time.Minute))
	return conn
}

// DialWebSocket makes a connection a WebSocket, and no more: it has no client that answers.
func DialWebSocket(t *testing.T, address, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn := Dial(t, address)
	const key = "dGhlIHNhbXBsZSBub25jZQ==" // that of RFC 6455
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, address, key)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	return conn, r
}

// Flood sends messages until the server does not read any more, because nothing reads what it
// sends.
func Flood(t *testing.T, conn net.Conn) {
	t.Helper()
	const size = 16 << 10
	frame := append([]byte{0x82, 0x80 | 126, size >> 8, size & 0xff, 0, 0, 0, 0}, make([]byte, size)...) // binary, masked by zeros
	stalled := 0
	for stalled < 3 {
		conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := conn.Write(frame)
		if err == nil {
			continue
		}
		if stalled++; n == 0 {
			continue
		}
		for n < len(frame) && stalled < 3 { // the rest of a frame comes first
			conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			more, err := conn.Write(frame[n:])
			if n += more; err != nil {
				stalled++
			}
		}
	}
}

// WantCloseFrame reads what the server sends until a close frame, which must be there. It reads
// short frames only.
func WantCloseFrame(t *testing.T, r *bufio.Reader) (code int, reason string) {
	t.Helper()
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatalf("%v, expected a close frame", err)
		}
		payload := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(r, payload); err != nil {
			t.Fatal(err)
		}
		if head[0]&0x0f == 8 && len(payload) >= 2 {
			return int(payload[0])<<8 | int(payload[1]), string(payload[2:])
		}
	}
}
