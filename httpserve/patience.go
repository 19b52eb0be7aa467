package httpserve

import (
	"net/http"
	"slices"
	"time"
)

// How long a connection on which nothing happens is left open when everything is
// brought to rest.
const (
	// idlePatience is for clients that are busy: their next request comes within that
	// time, and is answered.
	idlePatience = 10 * time.Millisecond

	// restPatience is for clients whose connections may rest, but which are so fast
	// that the next request is there whenever one is answered.
	restPatience = 20 * time.Millisecond

	// newPatience is for clients whose first request is on its way.
	newPatience = 50 * time.Millisecond

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
	notOurs     bool // it may rest, or others close it
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
	if v.notOurs {
		return busy
	}
	switch v.state {
	case http.StateNew:
		switch {
		case !v.underWay:
			return left(now, v.since, newPatience)
		case !v.tls:
			return busy
		case v.handshaking:
			return left(now, v.heard, handshakePatience)
		default:
			return left(now, v.heard, newPatience)
		}
	case http.StateIdle:
		switch {
		case v.protocol == http2:
			// What it sends now need not be a request.
			return left(now, latest(v.since, v.drain, v.heard), idlePatience)
		case !v.underWay:
			return left(now, v.since, idlePatience)
		}
	}
	return busy
}

func left(now, since time.Time, patience time.Duration) time.Duration {
	return max(0, patience-now.Sub(since))
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}
