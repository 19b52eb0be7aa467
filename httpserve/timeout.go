package httpserve

import (
	"net/http"
	"slices"
	"time"
)

// How long a connection on which nothing happens stays open during a restart.
const (
	// idleTimeout is for the next request of a client that is busy.
	idleTimeout = 10 * time.Millisecond

	// newTimeout is for the first request of a new connection.
	newTimeout = 50 * time.Millisecond

	// handshakeTimeout is for the client's next message of a handshake.
	handshakeTimeout = time.Second

	// parkTimeout is for connections that may be parked, but whose client is so fast that
	// the next request has arrived whenever a response is done. It runs from the start
	// of the restart.
	parkTimeout = 20 * time.Millisecond

	// unreadDelay is for the server to read what has arrived.
	unreadDelay = time.Millisecond

	// noTimeout is for a connection that serves a request. The change of its state is
	// reported.
	noTimeout = time.Hour
)

// A snapshot is the state of a connection at one moment.
type snapshot struct {
	exempt      bool // the connection may be parked, or the group closes it
	state       http.ConnState
	tls         bool
	protocol    protocol
	since       time.Time // when the connection got into that state
	drainStart  time.Time
	handshaking bool // not known to have ended the handshake
	lastRead    time.Time
	started     bool // the next request or the handshake has started
}

// timeout returns how long the connection may stay open from now on.
func (s snapshot) timeout(now time.Time) time.Duration {
	if s.exempt {
		return noTimeout
	}
	switch s.state {
	case http.StateNew:
		switch {
		case !s.started:
			return remaining(now, s.since, newTimeout)
		case !s.tls:
			return noTimeout
		case s.handshaking:
			return remaining(now, s.lastRead, handshakeTimeout)
		default:
			return remaining(now, s.lastRead, newTimeout)
		}
	case http.StateIdle:
		switch {
		case s.protocol == http2:
			// The client may send other frames than requests.
			return remaining(now, latest(s.since, s.drainStart, s.lastRead), idleTimeout)
		case !s.started:
			return remaining(now, s.since, idleTimeout)
		}
	}
	return noTimeout
}

func remaining(now, since time.Time, timeout time.Duration) time.Duration {
	return max(0, timeout-now.Sub(since))
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}
