package standin

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A transport sends messages over the channel of a stand-in, each whole, with one descriptor at
// most. Any goroutine may call send and close.
type transport interface {
	// send sends b and a duplicate of the descriptor fd, unless that is -1. It waits for room.
	send(b []byte, fd int) error

	// receive waits for the next message. Its descriptor is -1 if none has come, or if there
	// was no room for it. The caller owns it. The error is errPaused after pause.
	receive(b []byte) (n, fd int, err error)

	// pause has receive fail from now on, or not any more.
	pause(on bool)

	// inherited returns the number of the descriptor of the channel.
	inherited() int

	close()
}

// A link is the connection of a main process and one stand-in.
type link struct {
	transport transport
	take      func(image.Conn) bool
	handle    func(message) // called for each message but those about connections, one after the other
	ended     chan struct{} // closed when no more messages can come

	mu      sync.Mutex
	last    uint64                // the number of the connection that was given last
	waiting map[uint64]chan error // for the answer to it
	pausing *pause                // nil while messages are received
}

// A pause is a time in which no messages are received.
type pause struct {
	begun chan struct{} // closed when none is handled any more
	over  chan struct{}
}

// errPaused says that nothing is received at the moment.
var errPaused = errors.New("paused")

// newLink returns a link whose messages go to take and handle as soon as it runs.
func newLink(t transport, take func(image.Conn) bool, handle func(message)) *link {
	return &link{transport: t, take: take, handle: handle, ended: make(chan struct{}), waiting: map[uint64]chan error{}}
}

// run receives messages until the other end is closed, or close is called.
func (l *link) run() {
	defer close(l.ended)
	b := make([]byte, maxMessage)
	for {
		n, fd, err := l.transport.receive(b)
		if err == errPaused {
			l.awaitResume()
			continue
		}
		if err != nil {
			return
		}
		m, err := decode(b[:n], fd)
		if fd >= 0 && (err != nil || !m.kind.hasFile()) {
			sys.NewFD(fd).Close()
			m.fd = -1
		}
		if err == nil {
			l.received(m)
		}
	}
}

// pause has the link receive nothing until resume is called: what comes is for the next image. It
// returns when no message is being handled, or after the given time. One call is under way at a time.
func (l *link) pause(limit time.Duration) (resume func()) {
	p := &pause{make(chan struct{}), make(chan struct{})}
	l.setPause(p)
	l.transport.pause(true)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.begun:
	case <-l.ended:
	case <-timer.C:
	}
	return func() {
		l.setPause(nil)
		l.transport.pause(false)
		close(p.over)
	}
}

func (l *link) setPause(p *pause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pausing = p
}

// awaitResume waits for the end of the pause.
func (l *link) awaitResume() {
	l.mu.Lock()
	p := l.pausing
	l.mu.Unlock()
	if p != nil {
		close(p.begun)
		<-p.over
	}
}

func (l *link) received(m message) {
	switch m.kind {
	case give:
		answer := message{kind: refused, n: m.n, fd: -1}
		if m.fd >= 0 {
			c := image.Conn{Key: m.text, State: bytes.Clone(m.data), FD: m.fd}
			if l.take(c) {
				answer.kind = taken
			} else {
				sys.NewFD(m.fd).Close()
			}
		}
		l.send(answer)
	case taken, refused:
		l.mu.Lock()
		answer := l.waiting[m.n] // none for one that was given before an exec
		delete(l.waiting, m.n)
		l.mu.Unlock()
		if answer != nil {
			answer <- map[kind]error{taken: nil, refused: image.ErrNotTaken}[m.kind]
		}
	default:
		l.handle(m)
	}
}

func (l *link) send(m message) error { return l.transport.send(m.encode(), m.fd) }

// give gives a connection to the process at the other end, see [image.Beside.Give].
func (l *link) give(c image.Conn) error {
	answer := make(chan error, 1)
	l.mu.Lock()
	l.last++
	n := l.last
	l.waiting[n] = answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, n)
		l.mu.Unlock()
	}()
	if l.send(message{kind: give, n: n, text: c.Key, data: c.State, fd: c.FD}) != nil {
		return image.ErrNotTaken
	}
	select {
	case err := <-answer:
		return err
	case <-l.ended:
	}
	select {
	case err := <-answer: // it came last
		return err
	default:
		return image.ErrLost
	}
}

// sendWithin is send that gives up at the end of ctx: a process that was stopped reads nothing.
func (l *link) sendWithin(ctx context.Context, m message) error {
	sent := make(chan error, 1)
	go func() { sent <- l.send(m) }()
	select {
	case err := <-sent:
		return err
	case <-ctx.Done():
		return errNoAnswer
	}
}
