package testprocess

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/testclock"
)

// LimitIO makes reads and writes of a connection fail with [os.ErrDeadlineExceeded] once that time has
// passed on the clock of [Stopwatch], until stop is called. The test may set deadlines before that,
// and take them away again.
func LimitIO(c interface{ SetDeadline(time.Time) error }, limit time.Duration) (stop func()) {
	stopped, cancel := context.WithCancel(context.Background())
	ctx, stopClock := testclock.WithTimeoutLooking(stopped, limit, max(testclock.Pause, limit/20)) // there may be thousands
	var mu sync.Mutex                                                                              // no deadline is set after stop
	expire := func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped.Err() == nil {
			c.SetDeadline(time.Unix(1, 0))
		}
	}
	context.AfterFunc(ctx, func() {
		for ; stopped.Err() == nil; time.Sleep(time.Second) {
			expire()
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		cancel()
		stopClock()
	}
}

// DialContext connects as a [net.Dialer] does. A minute of [LimitIO] holds for the
// connection until it is closed.
func DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, stop := WithTimeout(ctx, time.Minute)
	defer stop()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return limitedConn{conn, LimitIO(conn, time.Minute)}, nil
}

type limitedConn struct {
	net.Conn
	stop func()
}

func (c limitedConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// DialHandshake connects as [DialContext] does and calls handshake, as of TLS, which does not close
// the connection. A server that is drained may close a new connection on which nothing has arrived
// for 50 ms, see package httpserve. If this process has stood still for half of that before the
// handshake sent anything, a handshake that fails is begun again on another connection.
func DialHandshake(ctx context.Context, network, address string, handshake func(net.Conn) (net.Conn, error)) (net.Conn, error) {
	for {
		began := time.Now()
		conn, err := DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		timed := &timedConn{Conn: conn}
		c, err := handshake(timed)
		if err == nil {
			return c, nil
		}
		conn.Close()
		if timed.written.Sub(began) < 25*time.Millisecond {
			return nil, err
		}
	}
}

// A timedConn knows when the first write has returned.
type timedConn struct {
	net.Conn
	written time.Time
}

func (c *timedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.written.IsZero() {
		c.written = time.Now()
	}
	return n, err
}

// GaveUpUnsent reports whether err is of Go's HTTP/2 client, about a request that it gives up when a GOAWAY
// arrives, and of which the server has processed nothing. The client does not send the body later, also if
// it has not begun to read it, of which the caller makes sure. No server can prevent that.
func GaveUpUnsent(err error) bool {
	text := err.Error()
	return strings.Contains(text, "cannot rewind body") || strings.Contains(text, "cannot retry err [http2: Transport received Server's graceful shutdown GOAWAY]")
}
