//go:build linux

package sockets_test

import (
	"bytes"
	"context"
	"net/netip"
	"testing"

	"github.com/autorestart-go/autorestart"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/sockets"
)

func init() {
	echoCommands["keep"] = func(address string) { // packets that begin with "new"
		config := sockets.Config{KeepPacket: func(packet []byte, _ netip.AddrPort) bool {
			return bytes.HasPrefix(packet, []byte("new"))
		}}
		conn := Must(config.ListenPacket(context.Background(), "udp", address))
		go echoPackets(conn)
		Say("open", conn.LocalAddr())
	}
	echoCommands["goodbye"] = func(string) {
		autorestart.RegisterDrainer(goodbye{})
		Say("done", "")
	}
}

// A goodbye is drained at "continue".
type goodbye struct{}

func (goodbye) Quiesce() {}
func (goodbye) Resume()  {}
func (goodbye) Drain(context.Context) error {
	Say("goodbye", "")
	<-proceed
	return nil
}

// In a drain the old version answers its packets. The others are answered by the next version, in
// many restarts.
func TestKeptPacketsCrossExec(t *testing.T) {
	d := Start(t, "echo")
	address := d.Ask("keep 127.0.0.1:0", "open")
	conn := dial(t, "udp", address)
	for _, generation := range []string{"0", "1", "2"} {
		d.Ask("goodbye", "done")
		d.Ask("restart", "goodbye")
		for _, text := range []string{"new 1", "new 2", "old"} {
			send(t, conn, text)
		}
		want(t, conn, generation+" old") // and the others before it were kept
		d.Ask("continue", "start")
		send(t, conn, "later")
		if again := d.Ask("keep 127.0.0.1:0", "open"); again != address {
			t.Fatalf("opened %s, want %s", again, address)
		}
		next := map[string]string{"0": "1", "1": "2", "2": "3"}[generation]
		for _, text := range []string{"new 1", "new 2", "later"} {
			want(t, conn, next+" "+text)
		}
	}
}
