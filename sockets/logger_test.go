//go:build linux

package sockets_test

import (
	"testing"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
)

// The line about a connection that is cut off does not keep others waiting.
func TestNewcomersAreServedWhileStderrIsFull(t *testing.T) {
	d := New(t, "echo")
	stderr := d.SlowStderr()
	d.Start()
	address := d.Ask("listen tcp 127.0.0.1:0", "open")
	conn := dial(t, "tcp", address)
	send(t, conn, "stay forever")
	want(t, conn, "staying")
	stderr.Fill()
	d.Ask("restart-within 10ms", "start")
	d.Ask("listen tcp "+address, "open")
	wantEcho(t, "tcp", address, 1)
	d.Ask("ready", "done")
	d.Ask("close 0", "closed")
}
