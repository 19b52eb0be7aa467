package quicserve

import (
	"context"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A listener accepts connections faster than one goroutine can: after a restart all clients come at
// once. The queue of quic-go has room for 32 connections, and it refuses clients when that is full.
type listener struct {
	*quic.EarlyListener
	conns  chan *quic.Conn
	failed chan error
}

const (
	// acceptors are goroutines that wait for connections. Each is room for one more.
	acceptors = 200

	// waiting is how many connections can wait for the server.
	waiting = 2000
)

func newListener(early *quic.EarlyListener) *listener {
	l := &listener{early, make(chan *quic.Conn, waiting), make(chan error, acceptors)}
	for range acceptors {
		go l.acceptAll()
	}
	return l
}

func (l *listener) acceptAll() {
	for {
		conn, err := l.EarlyListener.Accept(context.Background())
		if err != nil {
			l.failed <- err // of all acceptors: the listener is closed
			return
		}
		l.conns <- conn
	}
}

// Accept returns the next connection. A server that is being shut down gets none, which it would
// forget.
func (l *listener) Accept(ctx context.Context) (*quic.Conn, error) {
	select {
	case conn := <-l.conns:
		if ctx.Err() == nil {
			return conn, nil
		}
		select {
		case l.conns <- conn: // the next server gets it
		default:
			conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		}
		return nil, context.Cause(ctx)
	case err := <-l.failed:
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
