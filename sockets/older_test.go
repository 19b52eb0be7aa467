//go:build linux

package sockets

import (
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// receiverIsOlder has the next image be one that knows fewer kinds of connections.
func receiverIsOlder(t *testing.T) {
	t.Helper()
	currentRegistry().Store.SetReceiverKnows(false)
	t.Cleanup(func() { currentRegistry().Store.SetReceiverKnows(true) })
}

// countKind returns how many connections would cross as one of the given kind.
func countKind(as kind) (n int) {
	for _, k := range currentRegistry().inheritedKeys() {
		if k.kind == as {
			n++
		}
	}
	return n
}

// An older version would close newcomers: they wait in the kernel's queue for it. Those that
// an earlier restart has taken are accepted when this one is called off, too.
func TestNewcomersStayInQueueForOlderVersion(t *testing.T) {
	l := newHeldListener(t)
	dialListener(t, l)
	takeAll(t, l, 1)
	listenerDrainer{l}.Resume()
	before := countKind(unread)
	receiverIsOlder(t)
	listenerDrainer{l}.Quiesce()
	for range 3 {
		dialListener(t, l)
	}
	l.mu.Lock()
	taker := l.taker
	l.mu.Unlock()
	if taker != nil {
		takeAll(t, l, 4) // so that the count is certain
	}
	if n := countKind(unread) - before; n != 0 {
		t.Errorf("%d newcomers were taken for a version that does not know them", n)
	}
	listenerDrainer{l}.Resume()
	for range 4 {
		acceptConn(t, l)
	}
}

// An older version would close a connection with the beginning of a request. So its reader goes
// on, and a restart waits until its server closes it.
func TestBeginningDoesNotCrossToOlderVersion(t *testing.T) {
	for _, from := range []string{"its client", "the previous version"} {
		t.Run("from "+from, func(t *testing.T) {
			receiverIsOlder(t)
			l := listen(t, "127.0.0.1:0")
			client := dialListener(t, l)
			conn := acceptConn(t, l)
			httpConn{conn.stream}.BetweenRequests(true)
			if from == "its client" {
				client.Write([]byte("GET"))
			} else {
				conn.beginning.unread = []byte("GET")
				listenerDrainer{l}.Quiesce()
			}
			received := make(chan string)
			go func() {
				for b := make([]byte, 100); ; {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					received <- string(b[:n])
				}
			}()
			wantReceived := func(want string) {
				t.Helper()
				if got, _ := testprocess.Receive(t, "input of the reader", received); got != want {
					t.Fatalf("read %q, want %q", got, want)
				}
			}
			defer listenerDrainer{l}.Resume()
			wantReceived("GET")
			if from == "its client" {
				listenerDrainer{l}.Quiesce()
			}
			if (httpConn{conn.stream}).MayCross() {
				t.Error("it may cross")
			}
			if _, started := (httpConn{conn.stream}).LastRead(); !started {
				t.Error("no request has started")
			}
			client.Write([]byte(" /"))
			wantReceived(" /")
			if n := countKind(begun); n != 0 {
				t.Errorf("%d would cross", n)
			}
		})
	}
}

// A connection on which nothing has arrived crosses to every version.
func TestIdleConnectionCrossesToOlderVersion(t *testing.T) {
	receiverIsOlder(t)
	l := listen(t, "127.0.0.1:0")
	before := countKind(parked)
	conn, _ := park(t, l)
	listenerDrainer{l}.Quiesce()
	defer listenerDrainer{l}.Resume()
	if err := (listenerDrainer{l}).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := countKind(parked) - before; n != 1 || !(httpConn{conn.stream}).MayCross() {
		t.Errorf("%d idle connections cross, of 1", n)
	}
}
