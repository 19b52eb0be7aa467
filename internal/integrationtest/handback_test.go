//go:build linux

package integrationtest

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest/program"
)

// Connections that a version on trial has accepted, or taken from the previous version, live
// on there when it is rolled back.
func TestRollbackHandsConnectionsBack(t *testing.T) {
	d := program.StartWithTrial(t, time.Minute)
	connect := func(name string) *bufio.ReadWriter {
		conn, err := net.Dial("tcp", d.Ask("accept "+name, "done"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		d.Want("accepted")
		return bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	}
	kept := connect("kept")
	unclaimed := connect("unclaimed")
	d.DeployVersion(2)
	d.WantRestart(2)
	d.WantAnswer("take-and-lend kept", "")
	accepted := connect("new")
	mend := spoilPrevious(d)
	d.Ask("fail in vain", "done")
	mend()
	d.Tell("fail it is no good")
	if s := d.NextStart(); s.Version != 1 {
		t.Fatalf("version %d runs again", s.Version)
	}
	d.WantAnswer("names", "kept new pipe unclaimed")
	d.WantAnswer("get-state counter", "1, true")
	for name, conn := range map[string]*bufio.ReadWriter{"kept": kept, "unclaimed": unclaimed, "new": accepted} {
		conn.WriteString("question\n")
		conn.Flush()
		d.WantAnswer("answer "+name, "question\n, <nil>")
		if line, err := conn.ReadString('\n'); err != nil || !strings.HasPrefix(line, "answer") {
			t.Errorf("%s: %q, %v", name, line, err)
		}
	}
}
