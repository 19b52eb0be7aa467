package httpserve

import (
	"net/http"
	"slices"
	"time"
)

// A restart waits for requests, and not for clients that might send some. How long a
// connection without a request stays open depends on what has arrived on it since it was
// accepted or since the last response:
//
//	connection               what has arrived           is closed
//	may cross                nothing, or the beginning  not: it crosses the exec
//	                         of a request
//	HTTP/2                                              by package goaway
//	new                      nothing                    newTimeout after it was accepted
//	idle                     nothing                    idleTimeout after the last response
//	idle after a request     nothing more, or another   headerTimeout
//	sent with others         of them, in net/http
//	new, idle                beginning of a request     headerTimeout, with an answer
//	new, TLS                 beginning of a handshake   handshakeTimeout
//	                         or of HTTP/2
//	new, TLS                 handshake, and what else   newTimeout after the last data,
//	                         is not known               headerTimeout at most
//	idle, HTTP/2 without     anything                   idleTimeout after the last data,
//	package goaway                                      headerTimeout at most
//	new, idle, not of        not known                  newTimeout
//	package sockets
//	active                                              not: it serves a request, or reads
//	                                                    its body
//
// Where the table does not say after what, the time runs from the beginning of the
// restart, or from the time when the connection was accepted or became idle, or when no other
// process has taken it, if that was later. So a client can't prolong it by sending a byte now
// and then.
const (
	idleTimeout      = 10 * time.Millisecond
	newTimeout       = 50 * time.Millisecond
	handshakeTimeout = time.Second

	// unreadDelay is for the server to read what has arrived.
	unreadDelay = time.Millisecond

	// crossingInterval is the time between two looks at a connection that may cross. In a process
	// that ends after the drain it does not if no other one takes it.
	crossingInterval = time.Second

	// noTimeout is for a connection that is not closed unless its state changes, which is
	// reported.
	noTimeout = time.Hour
)

// headerTimeout is a variable for tests whose clients may stand still.
var headerTimeout = 500 * time.Millisecond

// A snapshot is the state of a connection at one moment.
type snapshot struct {
	mayCross    bool // the exec
	grouped     bool // package goaway closes the connection
	state       http.ConnState
	tls         bool
	protocol    protocol
	since       time.Time // when the connection got into that state
	drainStart  time.Time
	keptAt      time.Time // when it turned out that it does not cross; zero if that was known
	handshaking bool      // not known to have ended the handshake
	readsKnown  bool      // the next two are
	lastRead    time.Time
	started     bool // the next request or the handshake has started
	pipelined   bool // the last request was sent with the one before it; another may follow
}

// timeout returns how long the connection may stay open from now on, and whether its
// client then gets an answer, since it has sent the beginning of a request.
func (s snapshot) timeout(now time.Time) (left time.Duration, answer bool) {
	if s.grouped || s.state != http.StateNew && s.state != http.StateIdle {
		return noTimeout, false
	}
	isNew := s.state == http.StateNew
	begin := latest(s.drainStart, s.since, s.keptAt)
	header := remaining(now, begin, headerTimeout)
	switch {
	case s.mayCross && header == 0:
		return crossingInterval, false
	case s.mayCross:
		return header, false // what has been read by then may be too much to cross
	case !s.readsKnown:
		return remaining(now, begin, newTimeout), false
	case !s.started && isNew:
		return remaining(now, s.since, newTimeout), false
	case !s.started && s.protocol == http2:
		return remaining(now, begin, idleTimeout), false
	case !s.started && s.pipelined:
		return header, false
	case !s.started:
		return remaining(now, s.since, idleTimeout), false
	case isNew && s.tls && s.handshaking:
		return remaining(now, begin, handshakeTimeout), false
	case isNew && s.tls:
		return min(header, remaining(now, latest(s.since, s.lastRead), newTimeout)), false
	case s.protocol == http2:
		return min(header, remaining(now, latest(begin, s.lastRead), idleTimeout)), false
	}
	return header, true
}

func remaining(now, since time.Time, timeout time.Duration) time.Duration {
	return max(0, timeout-now.Sub(since))
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}
