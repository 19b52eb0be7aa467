package httpserve

import (
	"net/http"
	"time"
)

// A target is what is closed if a stream does not end: a connection, or a stream of HTTP/2, whose
// connection may have other requests.
type target struct {
	w     http.ResponseWriter
	r     *http.Request
	conn  *conn     // nil if the server is not of this package
	since time.Time // when the connection got its state; another time means another request
}

func newTarget(w http.ResponseWriter, r *http.Request) target {
	t := target{w: w, r: r}
	if t.conn, _ = r.Context().Value(connKey{}).(*conn); t.conn != nil {
		t.since = t.conn.stateSince()
	}
	return t
}

// past is a deadline that has expired.
var past = time.Unix(1, 0)

// close closes the target, whose handler has had the time of grace.
func (t target) close(grace time.Duration) {
	multiplexed := t.r.ProtoMajor > 1
	if t.conn != nil && !multiplexed {
		t.conn.cut(t.since)
		return
	}
	if multiplexed && t.r.Context().Err() != nil {
		return // it has ended; w may be in use for another request
	}
	// In HTTP/2, these deadlines reset the stream.
	c := http.NewResponseController(t.w)
	c.SetReadDeadline(past)
	c.SetWriteDeadline(past)
	if t.conn != nil {
		t.closeIfStuck(max(grace/2, minStuck), 3)
	}
}

// minStuck is how long a write takes at least before its client counts as one that does not read.
const minStuck = 100 * time.Millisecond

// closeIfStuck closes the HTTP/2 connection of a stream that is being reset if a write does not
// return for that long. Its client does not read: no response comes through there, nor does the
// frame that resets the stream. A client that has just stopped reading is noticed by a later one of
// the looks, of which that many are left.
func (t target) closeIfStuck(limit time.Duration, looks int) {
	switch {
	case t.r.Context().Err() != nil: // the frame came through
	case t.conn.http2.Writing(t.conn.Conn) >= limit:
		t.conn.transport.Close()
	case looks > 1:
		time.AfterFunc(limit, func() { t.closeIfStuck(limit, looks-1) })
	}
}

// stateSince returns when the connection got into its state.
func (c *conn) stateSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since
}

// cut closes the connection of a request that began at that time, whatever uses it. It does nothing
// once the request is over, unless the connection is hijacked.
func (c *conn) cut(began time.Time) {
	c.mu.Lock()
	current := c.hijacked || c.state == http.StateActive && c.since.Equal(began)
	c.mu.Unlock()
	if current {
		c.transport.Close() // TLS would wait for its alert to be sent
	}
}
