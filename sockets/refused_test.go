//go:build linux

package sockets

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// leave drains the first process, which ends after that, and gives by the given function. It returns
// when that is called.
func (b *besides) leave(give func(image.Conn) error) (drained <-chan error) {
	b.t.Helper()
	first := make(chan bool)
	announce := sync.OnceFunc(func() { close(first) })
	b.serve(func(c image.Conn) error {
		announce()
		return give(c)
	})
	b.first.Beside.SetLeaves()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, err := b.first.Drainers.Begin(ctx, time.Minute, nil)
		ended <- err
	}()
	b.t.Cleanup(func() {
		cancel()
		b.first.Beside.SetGive(nil)
	})
	testprocess.Receive(b.t, "offer", first)
	return ended
}

func refuse(image.Conn) error { return image.ErrNotTaken }

// wantRequest checks that a reader of this process gets the request that the client sends.
func wantRequest(t *testing.T, client net.Conn, read <-chan error) {
	t.Helper()
	if _, err := io.WriteString(client, "request"); err != nil {
		t.Error(err)
	}
	if err, _ := testprocess.Receive(t, "request", read); err != nil {
		t.Error(err)
	}
}

// A process that is about to end serves the requests on connections that the other one does not take:
// that one may have no descriptors for them.
func TestLeavingProcessServesRequestsOnRefusedConnections(t *testing.T) {
	for _, begun := range []string{"", "begun, "} {
		t.Run(begun, func(t *testing.T) {
			b := startBesides(t)
			client, conn, read := b.idle(begun)
			drained := b.leave(refuse)
			wantRequest(t, client, read)
			if c := (httpConn{conn.stream}); c.WillPark() || c.MayCross() {
				t.Error("the connection does not end with the response")
			}
			select {
			case err := <-drained:
				t.Errorf("drained before the connection was closed: %v", err)
			case <-time.After(2 * refusedInterval):
			}
			conn.Close()
			wantResult(t, drained, nil)
		})
	}
}

// In the end package httpserve closes what was not taken, as it closes all that does not cross.
func TestLeavingProcessKeepsWhatIsRefusedToTheLast(t *testing.T) {
	defer func(d time.Duration) { idleRefusedLimit = d }(idleRefusedLimit)
	idleRefusedLimit = refusedLimit + time.Millisecond
	b := startBesides(t)
	client, conn, read := b.idle("")
	drained := b.leave(refuse)
	testprocess.WaitFor(t, "last offer", func() bool { return !httpConn{conn.stream}.MayCross() })
	wantRequest(t, client, read)
	conn.Close()
	wantResult(t, drained, nil)
}

// A crowd is kept at the same time, and not as many at a time as are offered in the time between two
// offers of one.
func TestLeavingProcessKeepsCrowd(t *testing.T) {
	defer func(d time.Duration) { idleRefusedLimit = d }(idleRefusedLimit)
	idleRefusedLimit = time.Second
	b := startBesides(t)
	var conns []*tcpConn
	for range 500 {
		_, conn, _ := b.idle("")
		conns = append(conns, conn)
	}
	watch := testprocess.StartStopwatch()
	drained := b.leave(refuse)
	testprocess.WaitFor(t, "end of the offers", func() bool {
		return !slices.ContainsFunc(conns, func(c *tcpConn) bool { return httpConn{c.stream}.MayCross() })
	})
	if took := watch.Elapsed(); took > 2*idleRefusedLimit {
		t.Errorf("kept after %v", took)
	}
	for _, conn := range conns {
		conn.Close()
	}
	wantResult(t, drained, nil)
}

// A client that has connected and was neither accepted nor given is accepted.
func TestLeavingProcessAcceptsRefusedNewcomers(t *testing.T) {
	b := startBesides(t)
	d := b.drain() // nothing is beside it
	client := dialListener(t, b.from)
	takeAll(t, b.from, 1)
	d.Resume()
	takeAll(t, b.from, 1) // nobody accepts
	drained := b.leave(refuse)
	conn := acceptConn(t, b.from)
	wantAnswered(t, conn, client, "")
	conn.Close()
	wantResult(t, drained, nil)
}

// The other process may end while it gets connections.
func TestLeavingProcessServesWhenProcessBesideIsLost(t *testing.T) {
	b := startBesides(t)
	var clients []net.Conn
	var conns []*tcpConn
	var reads []<-chan error
	for range 5 {
		client, conn, read := b.idle("")
		clients, conns, reads = append(clients, client), append(conns, conn), append(reads, read)
	}
	drained := b.leave(func(image.Conn) error {
		b.first.Beside.SetGive(nil)
		return image.ErrLost
	})
	watch := testprocess.StartStopwatch()
	for i, client := range clients {
		wantRequest(t, client, reads[i])
		conns[i].Close()
	}
	if took := watch.Elapsed(); took > answerLimit/2 {
		t.Errorf("the requests were read after %v", took)
	}
	wantResult(t, drained, nil)
}

// Clients must not take the last descriptors of a stand-in. The main process takes more: what it
// does not take from a stand-in that ends does not last.
func TestDescriptorsThatTakerLeaves(t *testing.T) {
	for _, c := range []struct {
		process string
		standIn bool
		free    int
		taken   bool
	}{
		{"stand-in", true, spareDescriptors, false},
		{"stand-in with more", true, spareDescriptors + 8, true},
		{"main process", false, 20, true},
		{"main process with fewer", false, 18, false},
	} {
		t.Run(c.process, func(t *testing.T) {
			b := startBesides(t)
			client, _, read := b.idle("")
			b.second.Inherited.IsStandIn = c.standIn
			give := imagetest.GiveTo(b.second)
			answers := make(chan error, 1000)
			lift := limitDescriptors(t, c.free)
			b.serve(func(conn image.Conn) error {
				err := give(conn)
				answers <- err
				return err
			})
			b.drain()
			if err, _ := testprocess.Receive(t, "answer", answers); (err == nil) != c.taken {
				t.Errorf("with %d free descriptors: %v", c.free, err)
			}
			lift()
			wantGone(t, read)
			wantServed(t, b.to, client, "")
		})
	}
}
