package httpserve

import (
	"net/http"
	"time"
)

// How long a connection on which nothing happens is left open when everything is
// brought to rest.
const (
	// idlePatience is for clients that are busy: their next request comes within that
	// time, and is answered.
	idlePatience = 10 * time.Millisecond

	// handshakePatience is from one message of a handshake to the next.
	handshakePatience = time.Second

	// unreadPatience is for the server to read what is there.
	unreadPatience = time.Millisecond

	// busy is the patience with a connection that is at work. Its end, or a change of
	// its state, will be heard.
	busy = time.Hour
)

// view is what is known of a connection at a moment.
type view struct {
	state       http.ConnState
	tls         bool
	protocol    protocol
	since       time.Time // it has been in that state
	drain       time.Time // began
	handshaking bool      // maybe
	heard       time.Time // when something was read
	underWay    bool      // the next request, or the handshake
}

// patience returns how long the connection is to be left open from now on.
func (v view) patience(now time.Time) time.Duration {
	switch v.state {
	case http.StateNew:
		switch {
		case !v.underWay:
			return left(now, v.since, idlePatience)
		case !v.tls:
			return busy
		case v.handshaking:
			return left(now, v.heard, handshakePatience)
		default:
			return left(now, v.heard, idlePatience)
		}
	case http.StateIdle:
		if v.protocol == http2 {
			// It has been told to go away, and may send what it likes.
			return left(now, later(v.since, v.drain), idlePatience)
		}
		if !v.underWay {
			return left(now, v.since, idlePatience)
		}
	}
	return busy
}

func left(now, since time.Time, patience time.Duration) time.Duration {
	return max(0, patience-now.Sub(since))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
