package httpserve

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve/internal/goaway"
	"github.com/autorestart-go/autorestart/internal/httpconn"
	"github.com/autorestart-go/autorestart/internal/ticketkeys"
)

// A server is the handler of an [http.Server], in place of the original one. It knows
// the connections of the http.Server and drains them.
type server struct {
	handler   http.Handler                   // the original one
	connState func(net.Conn, http.ConnState) // likewise; may be nil

	errorLog *log.Logger          // likewise
	sessions *ticketkeys.Sessions // nil if they do not resume in the next version

	http2            goaway.Group
	grouped          bool // all HTTP/2 connections are in the group
	unencryptedHTTP2 bool // see servesUnencryptedHTTP2
	prefaceLogged    atomic.Bool

	conns         sync.Map                  // net.Conn -> *conn
	drainingSince atomic.Pointer[time.Time] // nil unless draining
	changed       httpconn.Wakeup

	stopSweeping func() // set while draining

	mu         sync.Mutex
	serving    int // calls of Serve
	order      int // the DrainOrder of their listeners
	unregister func()
}

// attaching is locked while an http.Server is changed.
var attaching sync.Mutex

// configure is a variable for tests.
var configure = (*goaway.Group).Configure

// attach returns the server of srv. The first call makes it the handler of srv, in place of
// one that it accepts.
func attach(srv *http.Server, overTLS bool) (*server, error) {
	attaching.Lock()
	defer attaching.Unlock()
	if s, ok := srv.Handler.(*server); ok {
		return s, nil
	}
	if err := checkHandler(srv); err != nil && !overTLS {
		return nil, err
	}
	s := &server{handler: srv.Handler, connState: srv.ConnState, errorLog: srv.ErrorLog}
	if s.handler == nil {
		s.handler = http.DefaultServeMux
	}
	s.unencryptedHTTP2 = servesUnencryptedHTTP2(srv)
	s.http2.Unread = httpconn.Unread
	s.sessions = resumeSessions(srv)
	srv.Handler, srv.ConnState = s, s.stateChanged
	srv.ConnContext, srv.BaseContext = s.connContext(srv), s.baseContext(srv)
	err := configure(&s.http2, srv, overTLS)
	if err != nil {
		// If the server can't serve at all, it says so itself.
		go s.logf("httpserve: a restart closes HTTP/2 connections with one GOAWAY, which may lose requests: %v", err)
	}
	s.grouped = err == nil && srv.TLSNextProto["h2"] != nil
	return s, nil
}

// errOrder says that a server would be drained with one of its listeners and before the other.
var errOrder = errors.New("httpserve: the listeners of a server must have the same DrainOrder: use a server for each DrainOrder")

// startServing registers the server as a drainer until the last call of Serve stops.
func (s *server) startServing(ln net.Listener) (stop func(), err error) {
	order := httpconn.DrainOrder(ln)
	s.mu.Lock()
	if s.serving > 0 && s.order != order {
		s.mu.Unlock()
		return nil, errOrder
	}
	s.serving++
	s.order = order
	first := s.serving == 1
	s.mu.Unlock()
	if first {
		unregister := autorestart.RegisterDrainer(s)
		s.mu.Lock()
		s.unregister = unregister
		s.mu.Unlock()
	}
	return func() {
		s.mu.Lock()
		s.serving--
		last := s.serving == 0
		unregister := s.unregister
		s.mu.Unlock()
		if last {
			unregister()
			if s.drainingSince.Load() != nil {
				s.Resume() // an unregistered drainer is not resumed
			}
		}
	}, nil
}

// The keys of what the context of a request has for this package.
type (
	connKey     struct{} // its [*conn]
	listenerKey struct{} // whether the listener is one of package sockets
)

// baseContext returns the new BaseContext of srv.
func (s *server) baseContext(srv *http.Server) func(net.Listener) context.Context {
	original := srv.BaseContext
	return func(ln net.Listener) context.Context {
		ctx := context.Background()
		if original != nil {
			ctx = original(ln)
		}
		own := httpconn.ListenerOf(ln) != nil
		return context.WithValue(ctx, listenerKey{}, own)
	}
}

// connContext returns the new ConnContext of srv.
func (s *server) connContext(srv *http.Server) func(context.Context, net.Conn) context.Context {
	original := srv.ConnContext
	return func(ctx context.Context, nc net.Conn) context.Context {
		// The next version does not accept parked connections from a wrapped listener. An
		// idle connection of HTTP/2 is not between requests of HTTP/1.1.
		own, _ := ctx.Value(listenerKey{}).(bool)
		c := newConn(nc, own && !s.unencryptedHTTP2, s.changed.Broadcast)
		c.http2 = &s.http2
		s.conns.Store(nc, c)
		ctx = context.WithValue(ctx, connKey{}, c)
		if original != nil {
			ctx = original(ctx, nc)
		}
		return ctx
	}
}

// stateChanged is the new ConnState of the http.Server.
func (s *server) stateChanged(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive, http.StateIdle:
		// A handler may report states of a connection that it has hijacked.
		if v, ok := s.conns.Load(c); ok {
			v.(*conn).setState(state)
		}
	case http.StateHijacked:
		if v, ok := s.conns.LoadAndDelete(c); ok {
			v.(*conn).setHijacked()
		}
	case http.StateClosed:
		s.conns.Delete(c)
	}
	s.changed.Broadcast() // a drain waits for the connections also when the program has stopped the server
	if s.connState != nil {
		s.connState(c, state)
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(*conn)
	if c != nil && c.isClosing() {
		panic(http.ErrAbortHandler)
	}
	ignoreUpgradeToH2C(r.Header)
	if isPreface(r) {
		if c != nil {
			c.halfClose() // the rest of the preface is unread
		}
		s.rejectPreface(w, r)
		return
	}
	if start := s.drainingSince.Load(); start != nil && s.endsConnection(r, c, *start) {
		w.Header().Set("Connection", "close")
		if c != nil {
			c.halfClose()
		}
	}
	s.handler.ServeHTTP(w, r)
	if c != nil && (!c.mayPark || s.drainingSince.Load() != nil) {
		c.requestHandled()
	}
}

// endsConnection reports whether the response to r has to say Connection: close, in a restart
// that began at drainStart. A connection that will be parked or get a GOAWAY needs no header.
func (s *server) endsConnection(r *http.Request, c *conn, drainStart time.Time) bool {
	if r.ProtoMajor == 2 {
		return !s.grouped // net/http sends a GOAWAY for the header
	}
	return c == nil || c.isEndedByResponse(drainStart)
}

// logf logs where the http.Server logs.
func (s *server) logf(format string, args ...any) {
	logger := s.errorLog
	if logger == nil {
		logger = log.Default()
	}
	logger.Printf(format, args...)
}
