package goaway

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const frameWindowUpdate = 0x8

// A wire is a client that sends and receives single frames.
type wire struct {
	*testing.T
	net.Conn
	early []packet // came before the acknowledgement of our SETTINGS
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	_, trust := identity()
	config := trust.Clone()
	config.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Cleanup(testprocess.LimitIO(c, time.Minute))
	return &wire{T: t, Conn: c}
}

func (w *wire) send(b []byte) {
	w.Helper()
	if _, err := w.Write(b); err != nil {
		w.Fatal(err)
	}
}

// exchangeSettings returns when the server has acknowledged our SETTINGS.
func (w *wire) exchangeSettings() {
	w.Helper()
	w.send(appendFrame([]byte(preface), frameSettings, 0, 0, ""))
	if f := w.next(); f.kind != frameSettings || f.has(flagAck) {
		w.Fatalf("the server begins with %+v", f)
	}
	var early []packet
	for {
		f := w.next()
		if f.kind == frameSettings && f.has(flagAck) {
			w.early = early
			return
		}
		early = append(early, f)
	}
}

// get sends a request for the path.
func (w *wire) get(stream uint32, path string) {
	w.Helper()
	// GET, https and the path, by the static table of HPACK.
	block := "\x82\x87\x04" + string(rune(len(path))) + path + "\x01\x01x"
	w.send(appendFrame(nil, frameHeaders, flagEndStream|flagEndHeaders, stream, block))
}

// A packet is a frame with its payload.
type packet struct {
	frame
	payload string
}

func (w *wire) read() (packet, error) {
	if len(w.early) > 0 {
		p := w.early[0]
		w.early = w.early[1:]
		return p, nil
	}
	var h [headerLen]byte
	if _, err := io.ReadFull(w, h[:]); err != nil {
		return packet{}, err
	}
	payload := make([]byte, int(h[0])<<16|int(h[1])<<8|int(h[2]))
	if _, err := io.ReadFull(w, payload); err != nil {
		return packet{}, err
	}
	p := packet{frame{kind: h[3], flags: h[4], stream: binary.BigEndian.Uint32(h[5:])}, string(payload)}
	copy(p.head[:], payload)
	return p, nil
}

// next returns the next frame that is not for flow control.
func (w *wire) next() packet {
	w.Helper()
	for {
		p, err := w.read()
		if err != nil {
			w.Fatal(err)
		}
		if p.kind != frameWindowUpdate {
			return p
		}
	}
}

func (w *wire) wantGoAway(last uint32) {
	w.Helper()
	p := w.next()
	if p.kind != frameGoAway || p.stream != 0 || len(p.payload) != 8 || p.number() != last || p.payload[4:] != "\x00\x00\x00\x00" {
		w.Fatalf("%+v, want a GOAWAY up to %d", p, last)
	}
}

func (w *wire) wantPing() packet {
	w.Helper()
	p := w.next()
	if p.kind != framePing || p.has(flagAck) || p.stream != 0 || len(p.payload) != 8 {
		w.Fatalf("%+v, want a PING", p)
	}
	return p
}

func (w *wire) answer(ping packet) {
	w.send(appendFrame(nil, framePing, flagAck, 0, ping.payload))
}

func (w *wire) wantResponse(stream uint32) {
	w.Helper()
	for {
		p := w.next()
		if p.stream != stream || p.kind != frameHeaders && p.kind != frameData {
			w.Fatalf("%+v, want a response on %d", p, stream)
		}
		if p.has(flagEndStream) {
			return
		}
	}
}

func (w *wire) wantEnd() {
	w.Helper()
	if p, err := w.read(); err != io.EOF {
		w.Fatalf("%+v, %v, want the end", p, err)
	}
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })

func TestIdleConnectionIsShutDown(t *testing.T) {
	g := Group{PingTimeout: testprocess.Timeout} // the client answers, when it can
	w := dial(t, serve(t, &http.Server{Handler: hello}, &g))
	w.exchangeSettings()
	g.GoAway()
	g.GoAway() // no second GOAWAY
	w.wantGoAway(maxStream)
	w.answer(w.wantPing())
	w.wantGoAway(0)
	w.wantEnd()
	testprocess.WaitFor(t, "end of the connection", func() bool { return g.Len() == 0 })
}

// Streams that the client opens before and after it reads the GOAWAY are served. Only then
// the connection is closed.
func TestStreamsThatCrossGoAwayAreServed(t *testing.T) {
	g := Group{PingTimeout: testprocess.Timeout} // the client answers, when it can
	started, end := make(chan bool), make(chan bool)
	w := dial(t, serve(t, &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		started <- true
		<-end
	})}, &g))
	w.exchangeSettings()
	w.get(1, "/")
	<-started
	g.GoAway()
	w.wantGoAway(maxStream)
	w.get(3, "/")
	<-started
	end <- true
	end <- true
	w.next()
	w.next() // two responses, in any order
	ping := w.wantPing()
	w.get(5, "/")
	<-started
	w.answer(ping) // is older than the stream
	end <- true
	w.wantResponse(5)
	w.answer(w.wantPing())
	w.wantGoAway(5)
	w.wantEnd()
}

// A client that does not answer PING has PingTimeout.
func TestPingTimeout(t *testing.T) {
	g := Group{PingTimeout: 50 * time.Millisecond}
	w := dial(t, serve(t, &http.Server{Handler: hello}, &g))
	w.exchangeSettings()
	began := time.Now()
	g.GoAway()
	w.wantGoAway(maxStream)
	w.wantPing()
	w.wantGoAway(0)
	w.wantEnd()
	if took := time.Since(began); took < g.PingTimeout {
		t.Errorf("closed after %v", took)
	}
}

func TestConnectionWithUnreadDataStaysOpen(t *testing.T) {
	var calls atomic.Int32
	g := Group{Unread: func(c net.Conn) bool {
		if _, ok := c.(*net.TCPConn); !ok {
			t.Errorf("called with a %T", c)
		}
		return calls.Add(1) < 3
	}}
	w := dial(t, serve(t, &http.Server{Handler: hello}, &g))
	w.exchangeSettings()
	g.GoAway()
	w.wantGoAway(maxStream)
	w.answer(w.wantPing())
	w.wantGoAway(0)
	w.wantEnd()
	if n := calls.Load(); n < 3 { // once more if the PING is still being written
		t.Errorf("called %d times, want 3", n)
	}
}

// A new connection has the time to send a request before it is shut down.
func TestNewConnectionIsServedAndShutDown(t *testing.T) {
	g := Group{PingTimeout: testprocess.Timeout} // the client answers, when it can
	addr := serve(t, &http.Server{Handler: hello}, &g)
	g.GoAway()
	w := dial(t, addr)
	w.exchangeSettings()
	w.get(1, "/")
	goAway := false
	for done := false; !done || !goAway; {
		p := w.next()
		done = done || p.stream == 1 && p.has(flagEndStream)
		goAway = goAway || p.kind == frameGoAway
	}
	w.answer(w.wantPing())
	w.wantGoAway(1)
	w.wantEnd()
}

func TestResumeAffectsOnlyNewConnections(t *testing.T) {
	g := Group{PingTimeout: testprocess.Timeout} // the client answers, when it can
	addr := serve(t, &http.Server{Handler: hello}, &g)
	old := dial(t, addr)
	old.exchangeSettings()
	g.GoAway()
	g.Resume()
	w := dial(t, addr)
	w.exchangeSettings()
	old.wantGoAway(maxStream)
	old.answer(old.wantPing())
	old.wantGoAway(0)
	old.wantEnd()
	w.get(1, "/")
	w.wantResponse(1)
	testprocess.WaitFor(t, "end of the old connection alone", func() bool { return g.Len() == 1 })
}

// Of many frames on many streams, none is torn.
func TestFramesAreInsertedBetweenFrames(t *testing.T) {
	const streams, size = 8, 7000                // together less than the initial windows
	g := Group{PingTimeout: testprocess.Timeout} // the client answers, when it can
	w := dial(t, serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range size / 100 {
			io.WriteString(w, strings.Repeat("x", 100))
			w.(http.Flusher).Flush()
		}
	})}, &g))
	w.exchangeSettings()
	for i := range streams {
		w.get(uint32(2*i+1), "/")
	}
	received, ended, goAways := 0, 0, 0
	for ended < streams || goAways == 0 {
		p := w.next()
		switch p.kind {
		case frameData:
			if received == 0 {
				g.GoAway()
			}
			received += len(p.payload)
			if strings.Trim(p.payload, "x") != "" {
				t.Fatalf("a body with %q", p.payload)
			}
		case frameGoAway:
			goAways++
		case frameHeaders, framePing: // a PING: no stream was open for a moment
		default:
			t.Fatalf("unexpected: %+v", p)
		}
		if p.stream != 0 && p.has(flagEndStream) {
			ended++
		}
	}
	if received != streams*size || goAways != 1 {
		t.Errorf("%d bytes, %d times GOAWAY, want %d and 1", received, goAways, streams*size)
	}
	w.answer(w.wantPing())
	w.wantGoAway(2*streams - 1)
	w.wantEnd()
}

// The server gets nothing that arrives after the decision to close.
func TestServerGetsNothingAfterDecisionToClose(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	c := &conn{Conn: there, transport: there, group: &Group{}}
	c.sent(appendFrame(nil, frameSettings, 0, 0, ""))
	c.state.requested = true
	c.latest = time.Now().Add(time.Hour)
	c.takePending()
	if _, ok := c.decideToClose(true, false); ok {
		t.Error("decided before its time")
	}
	c.earliest = time.Time{}
	if _, ok := c.decideToClose(true, true); ok || c.earliest.IsZero() {
		t.Error("decided with unread data, or did not set a new time")
	}
	c.earliest = time.Time{}
	if _, ok := c.decideToClose(false, false); ok || c.earliest.IsZero() {
		t.Error("decided during a write, or did not set a new time")
	}
	frame := appendFrame(nil, frameWindowUpdate, 0, 0, "\x00\x00\x00\x01")
	c.received(frame[:10])
	c.earliest = time.Time{}
	if _, ok := c.decideToClose(true, false); ok || c.earliest.IsZero() {
		t.Error("decided within a frame, or did not set a new time")
	}
	c.received(frame[10:])
	c.earliest = time.Time{}
	if last, ok := c.decideToClose(true, false); !ok || last != 0 {
		t.Errorf("%d, %v", last, ok)
	}
	go here.Write(appendFrame(nil, frameHeaders, flagEndStream, 1, "x"))
	if n, err := c.Read(make([]byte, 100)); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("the server reads %d bytes, %v", n, err)
	}
}

// A client that stops within a frame, or does not read, has incompleteTimeout.
func TestDecisionToCloseIsNotPutOffForIdlers(t *testing.T) {
	settings := appendFrame(nil, frameSettings, 0, 0, "")
	half := appendFrame(nil, frameHeaders, 0, 1, "x")
	for name, test := range map[string]struct {
		received, sent     []byte
		notWriting, unread bool
		late               bool // is it closed after incompleteTimeout
	}{
		"half a frame":         {received: half[:5], sent: settings, notWriting: true, late: true},
		"half a header":        {received: half, sent: settings, notWriting: true, late: true},
		"blocked write":        {sent: append(settings, half[:5]...), late: true},
		"write under way":      {sent: append(settings, half[:5]...), notWriting: true},
		"unread data":          {sent: settings, notWriting: true, unread: true},
		"open stream":          {received: appendFrame(nil, frameHeaders, flagEndHeaders, 1, "x"), sent: settings, notWriting: true},
		"open stream, blocked": {received: appendFrame(nil, frameHeaders, flagEndHeaders, 1, "x"), sent: settings},
	} {
		for _, late := range []bool{false, true} {
			c := &conn{group: &Group{PingTimeout: time.Hour}} // it does not close by itself meanwhile
			c.received(test.received)
			c.sent(test.sent)
			c.state.requested = true
			c.takePending()
			c.earliest, c.latest = time.Time{}, time.Now().Add(time.Hour)
			if late {
				c.latest = time.Time{}
			}
			last, ok := c.decideToClose(test.notWriting, test.unread)
			if want := late && test.late; ok != want || last != 0 && ok {
				t.Errorf("%s, late: %v: %v with last stream %d, want %v", name, late, ok, last, want)
			}
			if !ok && c.earliest.IsZero() {
				t.Errorf("%s, late: %v: no new time", name, late)
			}
			c.end()
		}
	}
}
