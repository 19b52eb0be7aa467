//go:build linux

package sockets

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// besides are two processes that have the same listener: the first gives its connections to the
// second.
type besides struct {
	t             *testing.T
	first, second *image.Image
	from, to      *listener
}

func startBesides(t *testing.T) *besides {
	t.Helper()
	p := imagetest.Start(t)
	b := &besides{t: t, first: image.Current()}
	b.from = listen(t, "127.0.0.1:0")
	b.second = p.StartBeside()
	b.second.Use()
	b.to = listen(t, "127.0.0.1:0")
	httpListener{b.to}.AcceptParked()
	b.first.Use()
	if b.from.Addr().String() != b.to.Addr().String() {
		t.Fatalf("the listeners are at %s and %s", b.from.Addr(), b.to.Addr())
	}
	return b
}

// serve has the second process serve, and the first one give connections by the given function.
func (b *besides) serve(give func(image.Conn) error) {
	b.second.Drainers.Release()
	b.first.Beside.SetServes(true)
	b.first.Beside.SetGive(give)
}

// drain drains the first process.
func (b *besides) drain() drain.Drained {
	b.t.Helper()
	d, err := b.first.Drainers.Begin(b.t.Context(), time.Minute, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// resume ends the drain of the first process.
func (b *besides) resume(d drain.Drained) {
	d.Resume()
	b.first.Beside.SetGive(nil)
	b.first.Beside.SetServes(false)
}

// idle returns a connection of the first process that waits for a request, of which a part was
// read, and both sides of it.
func (b *besides) idle(begun string) (client net.Conn, conn *tcpConn, read <-chan error) {
	b.t.Helper()
	client, err := net.Dial("tcp", b.from.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { client.Close() })
	b.t.Cleanup(testprocess.LimitIO(client, time.Minute))
	conn = acceptConn(b.t, b.from)
	httpConn{conn.stream}.BetweenRequests(true)
	if begun != "" {
		io.WriteString(client, begun)
		if n, err := conn.Read(make([]byte, 4096)); n != len(begun) || err != nil {
			b.t.Fatal(n, err)
		}
	}
	result := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 4096))
		result <- err
	}()
	return client, conn, result
}

// wantServed checks that a process serves the client as if nothing had been.
func wantServed(t *testing.T, by *listener, client net.Conn, begun string) {
	t.Helper()
	conn := acceptConn(t, by)
	if got, want := conn.RemoteAddr().String(), client.LocalAddr().String(); got != want {
		t.Errorf("accepted %s, want %s", got, want)
	}
	wantAnswered(t, conn, client, begun)
}

func wantAnswered(t *testing.T, conn, client net.Conn, begun string) {
	t.Helper()
	const rest = "rest"
	io.WriteString(client, rest)
	got := make([]byte, len(begun)+len(rest))
	if n, err := io.ReadFull(conn, got); string(got) != begun+rest {
		t.Errorf("the server reads %q, %v, want %q", got[:n], err, begun+rest)
	}
	io.WriteString(conn, "answer")
	got = make([]byte, len("answer"))
	if n, err := io.ReadFull(client, got); string(got) != "answer" {
		t.Errorf("the client reads %q, %v", got[:n], err)
	}
}

// wantGone checks that a reader ends as net/http expects it of a client that is gone.
func wantGone(t *testing.T, read <-chan error) {
	t.Helper()
	err, _ := testprocess.Receive(t, "end of the reader", read)
	if op, ok := err.(*net.OpError); !ok || op.Op != "read" || !errors.Is(err, net.ErrClosed) {
		t.Errorf("the reader gets %#v, want that of a closed connection", err)
	}
}

// connectionsOf returns the kinds of the connections that would cross an exec.
func connectionsOf(i *image.Image) (kinds []kind) {
	for _, k := range (*registry)(image.Sockets.Of(i)).inheritedKeys() {
		if k.isConnection() {
			kinds = append(kinds, k.kind)
		}
	}
	return kinds
}

func wantConnections(t *testing.T, i *image.Image, kinds ...kind) {
	t.Helper()
	if got := connectionsOf(i); !slices.Equal(got, kinds) {
		t.Errorf("%q would cross an exec, want %q", got, kinds)
	}
}

func TestParkedConnectionIsServedBeside(t *testing.T) {
	for _, begun := range []string{"", "the beginning, "} {
		t.Run(begun, func(t *testing.T) {
			b := startBesides(t)
			client, _, read := b.idle(begun)
			b.serve(imagetest.GiveTo(b.second))
			d := b.drain()
			wantGone(t, read)
			wantServed(t, b.to, client, begun)
			wantConnections(t, b.first)
			wantConnections(t, b.second)
			if n := len(b.from.allStreams()); n != 0 {
				t.Errorf("%d streams are left", n)
			}
			b.resume(d)
			if n := b.from.open; n != 0 {
				t.Errorf("%d connections are counted", n)
			}
		})
	}
}

// What was given and not accepted yet crosses an exec, or comes back.
func TestGivenConnectionCrossesAndComesBack(t *testing.T) {
	b := startBesides(t)
	httpListener{b.from}.AcceptParked()
	clients := make([]net.Conn, 2)
	begun := []string{"", "the beginning, "}
	for i, text := range begun {
		clients[i], _, _ = b.idle(text)
	}
	b.serve(imagetest.GiveTo(b.second))
	d := b.drain()
	wantConnections(t, b.first)
	if kinds := connectionsOf(b.second); len(kinds) != 2 || !slices.Contains(kinds, parked) {
		t.Errorf("%q would cross an exec", kinds)
	}
	b.resume(d)
	b.second.Beside.SetGive(imagetest.GiveTo(b.first))
	b.second.Beside.SetLeaves()
	if _, err := b.second.Drainers.Begin(t.Context(), time.Minute, nil); err != nil {
		t.Fatal(err)
	}
	wantConnections(t, b.second)
	served := map[string]*tcpConn{}
	for range clients {
		conn := acceptConn(t, b.from)
		served[conn.RemoteAddr().String()] = conn
	}
	for i, client := range clients {
		if conn := served[client.LocalAddr().String()]; conn != nil {
			wantAnswered(t, conn, client, begun[i])
		} else {
			t.Errorf("client %d has not come back", i)
		}
	}
}

// A client that has connected and is not accepted is given, too.
func TestNewcomerIsGiven(t *testing.T) {
	b := startBesides(t)
	d := b.drain() // nothing is beside it
	client := dialListener(t, b.from)
	takeAll(t, b.from, 1)
	d.Resume()
	takeAll(t, b.from, 1) // nobody accepts
	b.serve(imagetest.GiveTo(b.second))
	b.drain()
	takeAll(t, b.from, 0)
	takeAll(t, b.to, 1)
	wantConnections(t, b.first)
	wantServed(t, b.to, client, "")
}

// While another process accepts, a drain takes no client out of the kernel's queue.
func TestQueueIsLeftToProcessBeside(t *testing.T) {
	b := startBesides(t)
	b.serve(imagetest.GiveTo(b.second))
	b.drain()
	dialListener(t, b.from)
	wantResult(t, accept(b.to), nil)
	b.from.mu.Lock()
	defer b.from.mu.Unlock()
	if b.from.taker != nil || len(b.from.newcomers) > 0 {
		t.Errorf("%d newcomers, taker %v", len(b.from.newcomers), b.from.taker)
	}
}

// An image beside which another one serves begins quiesced.
func TestHeldListenerAcceptsNothing(t *testing.T) {
	b := startBesides(t)
	accepted := accept(b.to)
	dialListener(t, b.from)
	acceptConn(t, b.from)
	dialListener(t, b.to) // stays in the queue
	b.to.mu.Lock()
	if !b.to.held || b.to.taker != nil || len(b.to.newcomers) > 0 || len(accepted) > 0 {
		t.Errorf("held: %v, taker: %v, %d newcomers, %d accepted", b.to.held, b.to.taker, len(b.to.newcomers), len(accepted))
	}
	b.to.mu.Unlock()
	b.second.Drainers.Release()
	wantResult(t, accepted, nil)
}

func TestHeldPacketConnReadsNothing(t *testing.T) {
	p := imagetest.Start(t)
	listen := func() net.PacketConn {
		conn, err := ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		t.Cleanup(testprocess.LimitIO(conn, time.Minute))
		return conn
	}
	first := listen()
	second := p.StartBeside()
	second.Use()
	held := listen()
	client, err := net.Dial("udp", first.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	received := make(chan string, 2)
	go func() {
		b := make([]byte, 100)
		n, _, _ := held.ReadFrom(b)
		received <- string(b[:n])
	}()
	for i := range 100 {
		fmt.Fprint(client, i)
		b := make([]byte, 100)
		if n, _, err := first.ReadFrom(b); string(b[:n]) != fmt.Sprint(i) || err != nil {
			t.Fatalf("packet %d: read %q, %v", i, b[:n], err)
		}
	}
	io.WriteString(client, "last")
	second.Drainers.Release()
	if text, _ := testprocess.Receive(t, "packet", received); text != "last" {
		t.Errorf("read %q", text)
	}
}

// A connection that the other process refuses is offered again, and crosses the exec if there is
// one before.
func TestRefusedConnectionStays(t *testing.T) {
	b := startBesides(t)
	client, _, read := b.idle("begun, ")
	offers := make(chan bool)
	var refused atomic.Int64
	b.serve(func(c image.Conn) error {
		select {
		case <-offers:
			return imagetest.GiveTo(b.second)(c)
		default:
			refused.Add(1)
			return image.ErrNotTaken
		}
	})
	began := time.Now()
	b.drain()
	if took, n := time.Since(began), refused.Load(); took < refusedLimit || n == 0 {
		t.Errorf("drained after %v and %d offers", took, n)
	}
	wantConnections(t, b.first, begun)
	testprocess.Receive(t, "another offer", func() <-chan bool {
		c := make(chan bool)
		go func() {
			offers <- true
			close(c)
		}()
		return c
	}())
	wantGone(t, read)
	wantServed(t, b.to, client, "begun, ")
}

// A process that ends after its drain offers its connections for longer: the other one may be starting,
// and what it does not take is lost.
func TestLeavingProcessOffersLonger(t *testing.T) {
	b := startBesides(t)
	client, _, read := b.idle("")
	began := time.Now()
	b.serve(func(c image.Conn) error {
		if time.Since(began) < 2*refusedLimit {
			return image.ErrNotTaken
		}
		return imagetest.GiveTo(b.second)(c)
	})
	b.first.Beside.SetLeaves()
	b.drain()
	wantConnections(t, b.first)
	wantGone(t, read)
	wantServed(t, b.to, client, "")
}

// A connection on which the other process has ended is this one's, and no further one is offered.
func TestConnectionsStayWhenProcessBesideIsLost(t *testing.T) {
	b := startBesides(t)
	var clients []net.Conn
	var conns []*tcpConn
	for range 3 {
		client, conn, _ := b.idle("begun, ")
		clients, conns = append(clients, client), append(conns, conn)
	}
	gives := 0
	b.serve(func(image.Conn) error {
		gives++
		return image.ErrLost
	})
	d := b.drain()
	if gives != 1 {
		t.Errorf("%d connections were given to a process that has ended", gives)
	}
	wantConnections(t, b.first, begun, begun, begun)
	b.resume(d)
	for i, conn := range conns {
		// The reader from before gets the rest.
		io.WriteString(clients[i], "rest")
		io.WriteString(conn, "answer")
		if n, err := clients[i].Read(make([]byte, 100)); n != len("answer") || err != nil {
			t.Errorf("client %d reads %d bytes, %v", i, n, err)
		}
	}
	testprocess.WaitFor(t, "end of the passing", func() bool { return len(connectionsOf(b.first)) == 0 })
}

func TestTakerRefuses(t *testing.T) {
	b := startBesides(t)
	_, conn, _ := b.idle("")
	give := func(as kind, state string, change func(*key)) error {
		k := b.from.connectionKey(as)
		if change != nil {
			change(&k)
		}
		return imagetest.GiveTo(b.second)(image.Conn{Key: k.String(), State: []byte(state), FD: mustDescriptor(t, conn)})
	}
	elsewhere := func(k *key) { k.address, k.local = "127.0.0.1:1", "127.0.0.1:1" }
	wants := func(want error, as kind, state string, change func(*key)) {
		t.Helper()
		if err := give(as, state, change); err != want {
			t.Errorf("%s %q: %v, want %v", as, state, err, want)
		}
	}
	wants(image.ErrNotTaken, parked, "", elsewhere)
	wants(image.ErrNotTaken, begun, "", nil)
	wants(image.ErrNotTaken, halfClosed, "", nil)
	wants(image.ErrNotTaken, activated, "", nil)
	b.to.mu.Lock()
	b.to.acceptParked = false
	b.to.mu.Unlock()
	wants(image.ErrNotTaken, parked, "", nil)
	wants(image.ErrNotTaken, begun, "text", nil)
	wantConnections(t, b.second)
	wants(nil, unread, "", nil)
	httpListener{b.to}.AcceptParked()
	wants(nil, begun, "text", nil)
	b.second.Drainers.Release()
	d, err := b.second.Drainers.Begin(t.Context(), time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	wants(image.ErrNotTaken, parked, "", nil)
	d.Resume()
	wants(nil, parked, "", nil)
	b.to.Close()
	wants(image.ErrNotTaken, parked, "", nil)
	wantConnections(t, b.second)
}

func mustDescriptor(t *testing.T, c *tcpConn) int {
	t.Helper()
	fd, err := descriptorOf(c)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// The other process has opened the listener by another call, or has another listener at its
// address.
func TestListenerBesideIsFound(t *testing.T) {
	for _, c := range []struct{ from, to string }{
		{"tcp 127.0.0.1:%s", "tcp4 localhost:%s"},
		{"tcp :%s", "tcp 0.0.0.0:%s"},
	} {
		t.Run(c.to, func(t *testing.T) {
			p := imagetest.Start(t)
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(free.Addr().String())
			free.Close()
			open := func(form string) *listener {
				network, address, _ := strings.Cut(fmt.Sprintf(form, port), " ")
				l, err := Listen(network, address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				return l.(*listener)
			}
			from := open(c.from)
			first, second := image.Current(), p.StartBeside()
			second.Use()
			to := open(c.to)
			if to.oldKey == (key{}) {
				t.Fatal("the other process has opened another socket")
			}
			for _, way := range []struct {
				from, to *listener
				image    *image.Image
			}{{from, to, second}, {to, from, first}} {
				r := (*registry)(image.Sockets.Of(way.image))
				if found := r.listenerBeside(way.from.connectionKey(parked)); found != way.to {
					t.Errorf("a connection to %v is one to %v, want %v", way.from.key, found, way.to.key)
				}
			}
		})
	}
}
