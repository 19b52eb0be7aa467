package httpserve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve/internal/goaway"
)

// server follows the connections of an [http.Server]. It is in the place of its
// handler.
type server struct {
	handler   http.Handler                   // the user's
	connState func(net.Conn, http.ConnState) // likewise; may be nil

	http2   goaway.Group
	grouped bool // all connections of HTTP/2 are in the group

	conns    sync.Map                  // net.Conn -> *conn
	draining atomic.Pointer[time.Time] // since when
	changed  bell                      // rung while draining

	stopSweeping func() // set while draining

	mu         sync.Mutex
	serving    int // calls of Serve
	unregister func()
}

// attaching is held by who changes an http.Server.
var attaching sync.Mutex

// http2Patience is for clients that don't answer when they are told to go away.
const http2Patience = 250 * time.Millisecond

// attach returns what follows the connections of srv, from now on at the latest.
func attach(srv *http.Server, overTLS bool) (*server, error) {
	attaching.Lock()
	defer attaching.Unlock()
	if s, ok := srv.Handler.(*server); ok {
		return s, nil
	}
	s := &server{handler: srv.Handler, connState: srv.ConnState}
	if s.handler == nil {
		s.handler = http.DefaultServeMux
	}
	s.http2.Patience, s.http2.Unread = http2Patience, unread
	connContext := srv.ConnContext
	srv.Handler, srv.ConnState, srv.ConnContext = s, s.stateChanged, s.connAccepted(srv)
	err := s.http2.Configure(srv, overTLS)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		srv.Handler, srv.ConnState, srv.ConnContext = s.handler, s.connState, connContext
		return nil, err
	}
	s.grouped = err == nil && srv.TLSNextProto["h2"] != nil
	return s, nil
}

// connKey is the key of a [*conn] in the context of its requests.
type connKey struct{}

// endsOtherwise reports whether the connection of a request rests, or is brought to
// its end, without that the client of this request need be told.
func (s *server) endsOtherwise(r *http.Request, draining time.Time) bool {
	if r.ProtoMajor == 2 {
		return s.grouped // otherwise net/http makes a GOAWAY of it
	}
	c, ok := r.Context().Value(connKey{}).(*conn)
	return ok && c.mayRest && time.Since(draining) <= restPatience
}

// connAccepted returns the server's ConnContext.
func (s *server) connAccepted(srv *http.Server) func(context.Context, net.Conn) context.Context {
	users := srv.ConnContext
	// A client that knows may begin with HTTP/2, and what is idle then is not at a boundary.
	mayRest := srv.Protocols == nil || !srv.Protocols.UnencryptedHTTP2()
	return func(ctx context.Context, nc net.Conn) context.Context {
		c := newConn(nc, mayRest, s.grouped, s.changed.ring)
		s.conns.Store(nc, c)
		ctx = context.WithValue(ctx, connKey{}, c)
		if users != nil {
			ctx = users(ctx, nc)
		}
		return ctx
	}
}

// begin has the server take part in restarts until the end of a call of Serve.
func (s *server) begin() (end func()) {
	s.mu.Lock()
	s.serving++
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
			if s.draining.Load() != nil {
				s.Resume() // nobody else will
			}
		}
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if start := s.draining.Load(); start != nil && !s.endsOtherwise(r, *start) {
		w.Header().Set("Connection", "close")
	}
	s.handler.ServeHTTP(w, r)
}

func (s *server) stateChanged(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive, http.StateIdle:
		// Who has hijacked a connection may go on to report.
		if v, ok := s.conns.Load(c); ok {
			v.(*conn).set(state)
		}
	case http.StateHijacked, http.StateClosed:
		s.conns.Delete(c)
	}
	if s.draining.Load() != nil {
		s.changed.ring()
	}
	if s.connState != nil {
		s.connState(c, state)
	}
}

// Quiesce closes what is idle from now on, until Resume.
func (s *server) Quiesce() {
	start := time.Now()
	s.draining.Store(&start)
	s.http2.Announce()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		s.sweepUntil(stop, start)
	}()
	s.stopSweeping = func() {
		close(stop)
		<-stopped
	}
}

// Drain waits until no connection is left that is waited for nowhere else.
func (s *server) Drain(ctx context.Context) error {
	for {
		changed := s.changed.next()
		n := 0
		for _, v := range s.conns.Range {
			if v.(*conn).socket == nil { // the others have a listener that counts them
				n++
			}
		}
		if n == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d HTTP connections are at work: %w", n, context.Cause(ctx))
		}
	}
}

func (s *server) Resume() {
	s.http2.Resume()
	s.stopSweeping()
	s.draining.Store(nil)
}

// sweepUntil closes connections whose time has come.
func (s *server) sweepUntil(stop <-chan struct{}, start time.Time) {
	for {
		changed := s.changed.next()
		timer := time.NewTimer(s.sweep(start))
		select {
		case <-timer.C:
		case <-changed:
		case <-stop:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// sweep returns when to look again.
func (s *server) sweep(start time.Time) time.Duration {
	wait := busy
	for _, v := range s.conns.Range {
		c := v.(*conn)
		c.lingerIfHTTP2()
		patience := c.view(start).patience(time.Now())
		if patience == 0 && !c.closeIfQuiet() {
			patience = unreadPatience
		}
		if patience > 0 {
			wait = min(wait, patience)
		}
	}
	return wait
}
