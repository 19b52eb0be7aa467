// Package httpconn declares the methods by which package httpserve reports to a
// connection of package sockets where HTTP requests begin and end.
//
// A restart does not have to wait for a connection between two requests. The
// connection is parked: Read blocks, the connection crosses the exec, and the next
// version reads the next request from it. Its client notices nothing. If a part of the
// header of the next request was read, it crosses with the connection.
//
// The package also has what all servers need that are drained, of HTTP and of gRPC: [Claim],
// [Unread] and [Wakeup].
package httpconn

import (
	"net"
	"time"
)

// Of returns what c is to package httpserve if package sockets has accepted it, and otherwise
// nil. ListenerOf does the same for a listener. Package sockets sets both. The methods are not
// those of the connection itself: there, a program could find them, and a type that wraps it
// would have some of them.
var (
	Of         = func(c net.Conn) Conn { return nil }
	ListenerOf = func(ln net.Listener) Listener { return nil }
)

// Unread reports whether the kernel has data, or the end of the stream, that was not read from c. It
// is false where the system has no way to find out.
var Unread = func(c net.Conn) bool { return false }

// A Conn is a connection that a listener of package sockets has accepted.
type Conn interface {
	// BetweenRequests reports that what is read from now on belongs to the next
	// request. If mayPark is true, a restart parks the connection as soon as its reader
	// comes for more; the reader must be that of net/http for HTTP/1.1.
	BetweenRequests(mayPark bool)

	// RequestStarted reports that the header of the next request is complete. A restart
	// waits for the next call of BetweenRequests.
	RequestStarted()

	// Hijacked reports that the program has taken the connection over from net/http. What a
	// drain waits for says how many these are.
	Hijacked()

	// MayCross reports whether a restart parks the connection as it is: no request has
	// started, or all that was read of one is known and not too much. It is false of
	// a pipelined request of which some lines may have been parsed already, and of the
	// beginning of a request that the next version would not read. It becomes false
	// without another event at KeptAt.
	MayCross() bool

	// WillPark reports whether a restart that is under way parks the connection between
	// requests. It is false where the process ends after the drain, and no other one takes it.
	WillPark() bool

	// KeptAt returns when it turned out in a drain that no other process takes the connection, so
	// that this process serves it to its end. It is zero otherwise.
	KeptAt() time.Time

	// LastRead returns the time of the last read that returned data, and whether the
	// next request has started: since the last call of BetweenRequests, data was read or
	// RequestStarted was called.
	LastRead() (at time.Time, started bool)

	// SetHalfClose makes Close close the writing side only. What the client still
	// sends is discarded in the background until the client closes its side, for 2
	// seconds at most; then the connection is closed. This way, a client that is still
	// sending can read the last response before its writes fail.
	SetHalfClose()
}

// A Listener is one of package sockets.
type Listener interface {
	// AcceptParked makes Accept return the connections that the previous version
	// parked. It must be called before the first Accept; otherwise the first Accept
	// closes them, because its caller would not expect a connection on which requests
	// were already served.
	AcceptParked()

	// DrainOrder returns the DrainOrder of the listener as a drainer.
	DrainOrder() int
}
