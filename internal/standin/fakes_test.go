//go:build unix

package standin

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// An end is one end of a channel in memory. The number that crosses an exec is its only property
// that is no descriptor.
type end struct {
	*memory
	other  *end
	queue  []packet // to be received here
	held   bool     // receive waits, as a process does that has no time
	full   bool     // send waits, as for a process that reads nothing
	paused bool
	closed bool
	number int
}

type memory struct {
	mu      sync.Mutex
	changed *sync.Cond
}

type packet struct {
	b  []byte
	fd int
}

func newChannelInMemory() (own, other *end) {
	m := new(memory)
	m.changed = sync.NewCond(&m.mu)
	own, other = &end{memory: m, number: 1001}, &end{memory: m, number: 1002}
	own.other, other.other = other, own
	return own, other
}

func (e *end) send(b []byte, fd int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.full && !e.closed && !e.other.closed {
		e.changed.Wait()
	}
	switch {
	case e.closed:
		return os.ErrClosed
	case e.other.closed:
		return unix.EPIPE
	}
	p := packet{append([]byte(nil), b...), -1}
	if fd >= 0 {
		duplicate, err := sys.Duplicate(fd)
		if err != nil {
			return err
		}
		p.fd = duplicate.Release()
	}
	e.other.queue = append(e.other.queue, p)
	e.changed.Broadcast()
	return nil
}

func (e *end) receive(b []byte) (n, fd int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for !e.closed && !e.paused && (e.held || len(e.queue) == 0 && !e.other.closed) {
		e.changed.Wait()
	}
	switch {
	case e.closed:
		return 0, -1, os.ErrClosed
	case e.paused:
		return 0, -1, errPaused
	case len(e.queue) == 0:
		return 0, -1, io.EOF
	}
	p := e.queue[0]
	e.queue = e.queue[1:]
	return copy(b, p.b), p.fd, nil
}

func (e *end) inherited() int { return e.number }

func (e *end) pause(on bool) { e.set(func() { e.paused = on }) }

func (e *end) close() {
	e.set(func() {
		e.closed = true
		for _, p := range e.queue {
			if p.fd >= 0 {
				sys.NewFD(p.fd).Close()
			}
		}
		e.queue = nil
	})
}

// cross returns the end as the next image has it. The previous one has it no more.
func (e *end) cross() *end {
	next := &end{memory: e.memory, other: e.other, number: e.number}
	e.set(func() {
		next.queue, e.queue = e.queue, nil
		e.closed = true
		e.other.other = next
	})
	return next
}

// set changes the end.
func (e *end) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
	e.changed.Broadcast()
}

// say sends a message without a descriptor.
func (e *end) say(t *testing.T, m message) {
	t.Helper()
	m.fd = -1
	if err := e.send(m.encode(), -1); err != nil {
		t.Fatal(err)
	}
}

// next returns the next message. It is called in a bubble.
func (e *end) next(t *testing.T) message {
	t.Helper()
	b := make([]byte, maxMessage)
	n, fd, err := e.receive(b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(b[:n], fd)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// want receives the next message, which must be of the given kind.
func (e *end) want(t *testing.T, k kind) message {
	t.Helper()
	m := e.next(t)
	if m.kind != k {
		t.Fatalf("received a message of kind %d, want kind %d", m.kind, k)
	}
	return m
}

// A peer is a stand-in that the test plays.
type peer struct {
	*end
	number int
	ended  chan struct{}

	mu     sync.Mutex
	text   string
	killed bool // by killGroup
	atEnd  bool // killGroupAtEnd

	released bool // close
	sleeps   bool // killGroup has no effect
}

func (p *peer) pid() int              { return p.number }
func (p *peer) inherited() int        { return p.number + 1 }
func (p *peer) done() <-chan struct{} { return p.ended }

func (p *peer) how() (text string, killed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text, p.killed
}

func (p *peer) killGroup() {
	if !p.sleeps {
		p.exit("killed", true)
	}
}

func (p *peer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
}

func (p *peer) killGroupAtEnd(kill bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.atEnd = kill
}

// exit ends the stand-in, unless it has ended.
func (p *peer) exit(text string, killed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
		return
	default:
	}
	p.text, p.killed = text, killed
	p.end.close()
	close(p.ended)
}

// lives reports whether the stand-in has not ended.
func (p *peer) lives() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// An outputInMemory is what a peer has written.
type outputInMemory struct {
	text   string
	much   atomic.Bool
	closed bool
}

func (o *outputInMemory) tail() string  { return o.text }
func (o *outputInMemory) tooMuch() bool { return o.much.Load() }
func (o *outputInMemory) close()        { o.closed = true }

// newImage returns an image that has inherited nothing.
func newImage() *image.Image { return image.Start(new(handover.State), nil) }

// begin starts a peer as a stand-in of the set.
func begin(t *testing.T, s *Set) (*StandIn, *peer) {
	t.Helper()
	own, other := newChannelInMemory()
	p := &peer{end: other, number: 100 + 10*len(s.all), ended: make(chan struct{})}
	x := newStandIn(s)
	x.written = &outputInMemory{text: "last words"}
	x.connect(p, own)
	s.add(x)
	t.Cleanup(func() { p.exit("the test ends", false) })
	return x, p
}

// serves has a peer that was begun serve.
func serves(t *testing.T, s *Set) (*StandIn, *peer) {
	t.Helper()
	x, p := begin(t, s)
	p.say(t, message{kind: ready})
	if err := x.AwaitReady(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := x.Serve(t.Context(), drainTime); err != nil {
		t.Fatal(err)
	}
	p.want(t, serve)
	return x, p
}

// bubble runs f with an empty set in a bubble.
func bubble(t *testing.T, f func(t *testing.T, s *Set)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, Inherit(newImage())) })
}

// drainTime is the DrainTimeout of tests.
const drainTime = 30 * time.Second

// openFile returns a descriptor that is open until the end of the test.
func openFile(t *testing.T) int {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}
