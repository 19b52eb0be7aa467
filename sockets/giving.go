package sockets

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// If another process serves beside this one, a drain gives that process the connections that
// would wait for the next version: parked streams, and those that are not accepted yet. Each is
// this process's until the other one has taken it, and is passed to the next version as without
// the other process. Then this process closes its descriptor, and does nothing else with the
// connection: the client notices nothing.
//
// A connection that is being given is pinned: this process neither reads from it, nor writes to
// it, nor shuts it down, until the answer is there. Its reader stays at the gate, also at its
// deadline and when the stream is closed or resumes. If the other process has not taken the
// connection, the reader goes on as if it had come late, and a Close ends the connection. If
// the other process has, the Close has come too late, and the reader gets the error that a
// closed connection has: the package net/http ends without a word. It might write one to the
// client after the beginning of a request, so the descriptor is closed before.

// A givable is a connection that can be given: a [*stream] or an [*inheritedConn].
type givable interface {
	// startGiving pins the connection. It returns false unless the connection waits for the
	// next version. The caller closes the duplicate of its descriptor.
	startGiving() (c image.Conn, duplicate *sys.FD, ok bool)

	// endGiving unpins the connection.
	endGiving(given bool)

	// unpass has the connection not cross an exec while it is pinned.
	unpass()

	// hasRequest reports whether a client waits for an answer.
	hasRequest() bool

	// keep has this process serve the connection to its end. It returns when the drain waits for
	// that, or false if this process can't.
	keep() (kept bool)

	// of returns the listener that counts the connection as offered.
	of() *listener
}

// A stream without a request is parked when its turn comes, and not when the drain begins. Until
// then this process serves it: a request does not wait until many idle connections are given.
//
// A process that ends after its drain serves what the other one does not take, since no next
// version will: the other one may have no descriptors left, or end as well. That is for one more
// response, which says that the connection ends.

// An offer is a connection that waits for the giver.
type offer struct {
	givable
	refused time.Time // for the first time; zero if it was not
	counted bool      // the drain waits for the answer
}

const (
	// givenAtOnce connections are given in giveInterval, at most. For each of them a goroutine
	// begins in the other process, and one ends here. More at once would hold up the requests
	// of others.
	givenAtOnce  = 2
	giveInterval = time.Millisecond

	// firstRefusedInterval is the time between two offers of a connection that was not taken, which
	// doubles up to refusedInterval: the program in the other process may call Serve soon
	// after Ready.
	firstRefusedInterval = 2 * time.Millisecond
	refusedInterval      = 100 * time.Millisecond

	// refusedLimit is how long a drain waits for a connection that is refused. Then the connection
	// crosses the exec. Where none follows, this process keeps it if a request has come.
	refusedLimit = 300 * time.Millisecond

	// answerLimit is how long an exec waits for the answer to a connection.
	answerLimit = time.Second
)

// idleRefusedLimit is how long a connection without a request is refused, or all are, before this
// process keeps it, where no exec follows. The other process may be starting meanwhile.
var idleRefusedLimit = 8 * time.Second

// A giver gives the connections of a registry to the process beside this one, one after the other.
type giver struct {
	beside *image.Beside

	mu      sync.Mutex
	queue   []*offer  // to be given
	refused []*offer  // to be offered again
	later   []*stream // to be parked when the queue is empty
	running bool
	since   time.Time     // when the first one was refused after the last one that was taken; zero if none was
	again   time.Time     // when the refused ones are offered again
	pause   time.Duration // until then, the next time
	stopped bool          // until the next drain
	current *offer        // is being given; nil if none is
	changed chan struct{} // closed when one of the above changes
}

// offer has the connection given, if the other process takes any. A process that ends keeps it otherwise.
func (l *listener) offer(c givable) {
	if b := &l.registry.Beside; !b.Takes() && !b.Leaves() {
		return
	}
	l.addOffered(+1)
	l.registry.giver.add(&offer{givable: c, counted: true})
}

func (l *listener) addOffered(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offered += n
	l.wakeUp()
}

// uncount has the drain wait for the connection no longer.
func (o *offer) uncount() {
	if o.counted {
		o.counted = false
		o.of().addOffered(-1)
	}
}

// begin is called when a drain begins.
func (g *giver) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped, g.pause, g.since = false, firstRefusedInterval, time.Time{}
}

func (g *giver) add(o *offer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = append(g.queue, o)
	g.start()
}

// start is called with g locked.
func (g *giver) start() {
	g.change()
	if !g.running {
		g.running = true
		go g.run()
	}
}

// parkLater has streams parked one after the other.
func (g *giver) parkLater(streams []*stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(streams) > 0 {
		g.later = append(g.later, streams...)
		g.start()
	}
}

// parkNow parks the streams that have not had their turn.
func (g *giver) parkNow() {
	g.mu.Lock()
	later := g.later
	g.later = nil
	g.mu.Unlock()
	for _, s := range later {
		s.quiesce()
	}
}

// forget leaves the streams alone that have not had their turn: the drain is called off.
func (g *giver) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.later = nil
}

// change is called with g locked.
func (g *giver) change() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// wait unlocks g, waits for a change or the given time, and locks g.
func (g *giver) wait(limit time.Duration) {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	changed := g.changed
	g.mu.Unlock()
	defer g.mu.Lock()
	select {
	case <-changed:
	case <-time.After(limit):
	}
}

// run ends when nothing is left.
func (g *giver) run() {
	for n := 1; ; n++ {
		o := g.next()
		if o == nil {
			return
		}
		g.give(o)
		if n%givenAtOnce == 0 {
			time.Sleep(giveInterval)
		}
	}
}

// next returns the connection that is to be given next, or nil if the giver ends.
func (g *giver) next() *offer {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		switch ends := g.stopped || !g.beside.Takes(); {
		case len(g.queue)+len(g.refused)+len(g.later) == 0:
			g.running = false
			return nil
		case ends:
			g.drop()
		case len(g.queue) > 0:
			g.current = g.queue[0]
			g.queue = g.queue[1:]
			return g.current
		case len(g.refused) > 0 && !time.Now().Before(g.again):
			g.queue, g.refused = g.refused, nil
		case len(g.later) > 0:
			s := g.later[0]
			g.later = g.later[1:]
			g.mu.Unlock()
			s.quiesce()
			g.mu.Lock()
			if len(g.queue) == 0 {
				g.wait(giveInterval) // for the reader to come
			}
		default:
			g.wait(time.Until(g.again))
		}
	}
}

// drop drops all offers. It is called with g locked.
func (g *giver) drop() {
	dropped, later := slices.Concat(g.queue, g.refused), g.later
	g.queue, g.refused, g.later = nil, nil, nil
	g.mu.Unlock()
	defer g.mu.Lock()
	leaves := g.beside.Leaves()
	for _, s := range later {
		if leaves {
			s.keep()
		} else {
			s.quiesce()
		}
	}
	for _, o := range dropped {
		if leaves {
			o.keep()
		}
		o.uncount()
	}
}

func (g *giver) give(o *offer) {
	c, duplicate, ok := o.startGiving()
	if !ok {
		g.answered(o, nil)
		return
	}
	err := image.ErrNotTaken // without a descriptor
	if duplicate != nil {
		err = g.beside.Give(c)
		duplicate.Close()
	}
	o.endGiving(err == nil)
	g.note(err)
	g.answered(o, err)
}

// note notes whether the other process takes connections at all. What waits for its turn is not
// parked while others are refused, so a process that ends keeps all of them at the same time.
func (g *giver) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.since = time.Time{}
	case g.since.IsZero():
		g.since = time.Now()
	case g.beside.Leaves() && time.Since(g.since) >= idleRefusedLimit:
		g.stopped = true
	}
}

func (g *giver) answered(o *offer, err error) {
	refused := errors.Is(err, image.ErrNotTaken)
	lost := err != nil && !refused // the other process has ended
	switch {
	case refused:
		if o.refused.IsZero() {
			o.refused = time.Now()
		}
		if g.isRefusedForGood(o) {
			o.uncount()
		}
	case lost && g.beside.Leaves():
		o.keep()
		o.uncount()
	default:
		o.uncount()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.current = nil
	if refused {
		if len(g.refused) == 0 {
			g.again = time.Now().Add(g.pause)
			g.pause = min(2*g.pause, refusedInterval)
		}
		g.refused = append(g.refused, o)
	} else {
		g.pause = firstRefusedInterval
	}
	if lost {
		g.stopped = true
	}
	g.change()
}

// isRefusedForGood reports whether the drain waits for the offer no longer: the connection crosses
// the exec, or this process keeps it. It is offered further until it is not parked any more.
func (g *giver) isRefusedForGood(o *offer) bool {
	since := time.Since(o.refused)
	if !g.beside.Leaves() {
		return since >= refusedLimit
	}
	last := since >= idleRefusedLimit
	if last || since >= refusedLimit && o.hasRequest() {
		return o.keep() || last
	}
	return false
}

// stop is called right before an exec. It returns when no connection is being given. If there
// is one after answerLimit, that does not cross the exec: two processes would have it.
func (g *giver) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	g.change()
	until := time.Now().Add(answerLimit)
	for g.current != nil && time.Now().Before(until) {
		g.wait(time.Until(until))
	}
	if o := g.current; o != nil {
		g.mu.Unlock()
		defer g.mu.Lock()
		o.unpass()
	}
}
