package goaway

import (
	"net"
	"testing"
	"time"
)

// The end of the last stream gives the client new time: its connection is not closed between that
// and the PING, however long the shutdown has taken by then.
func TestConnectionIsNotClosedBeforeLastPing(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	c := &conn{Conn: ours, transport: ours, group: new(Group)}
	defer c.end()
	for _, event := range []string{"settings", "shut down"} {
		events[event](&c.state)
	}
	c.state.takePending()
	events["request 1"](&c.state)
	past := time.Now().Add(-time.Second)
	c.earliest, c.latest = past, past

	c.writing.Lock() // as Write has it from the last frame of the response to the PING
	defer c.writing.Unlock()
	c.sent(appendFrame(nil, frameData, flagEndStream, 1, "x"))
	c.closeIfIdle()
	if c.state.closed {
		t.Error("closed without a PING after the last stream")
	}
	if c.takePending() == nil {
		t.Error("no PING after the last stream")
	}
}
