package quicserve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/autorestart-go/autorestart"
)

// Serve serves HTTP/3 on a transport of [Listen]. In a restart it drains: it answers the requests
// that have arrived, and has clients close their connections. If the restart is called off, it goes
// on. It returns when the transport is closed, or fails.
//
// A server that was shut down can't serve again. So Serve calls newServer at first and in each drain.
// The servers must be new, and alike.
func Serve(t *quic.Transport, newServer func() *http3.Server) error {
	s := &server{newServer: newServer, changed: make(chan struct{})}
	s.replace()
	t.ConnContext = s.countConn
	config := s.current.QUICConfig
	if config == nil {
		config = &quic.Config{Allow0RTT: true}
	}
	early, err := t.ListenEarly(http3.ConfigureTLSConfig(s.current.TLSConfig), config)
	if err != nil {
		return err
	}
	defer autorestart.RegisterDrainer(s)()
	l := newListener(early)
	for {
		current := s.get()
		err := current.ServeListener(l)
		if !errors.Is(err, http.ErrServerClosed) || s.get() == current {
			return err
		}
	}
}

// A server is a Drainer. It has one [http3.Server] after the other.
type server struct {
	newServer func() *http3.Server

	mu              sync.Mutex
	current         *http3.Server
	conns, requests int           // that are open; conns includes handshakes
	changed         chan struct{} // closed when there are fewer
}

func (s *server) get() *http3.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// replace has another server accept what comes, and returns the one before.
func (s *server) replace() (old *http3.Server) {
	next := s.newServer()
	handler := next.Handler
	if handler == nil {
		handler = http.DefaultServeMux
	}
	next.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.add(&s.requests, +1)
		defer s.add(&s.requests, -1)
		handler.ServeHTTP(w, r)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	old, s.current = s.current, next
	return old
}

// countConn counts a connection until it is closed.
func (s *server) countConn(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	s.add(&s.conns, +1)
	context.AfterFunc(ctx, func() { s.add(&s.conns, -1) })
	return ctx, nil
}

func (s *server) add(count *int, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*count += n
	if n < 0 {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// await waits until the count is 0, and reports whether it is.
func (s *server) await(ctx context.Context, count *int) bool {
	for {
		s.mu.Lock()
		n, changed := *count, s.changed
		s.mu.Unlock()
		if n == 0 {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

const (
	// goodbyeTime is how long clients have to acknowledge the last answers, and to close their
	// connections. Most do so when they get the GOAWAY. The others are closed after it.
	goodbyeTime = time.Second

	// handshakeTime is how long a handshake that is under way may take before it is looked at
	// again.
	handshakeTime = 20 * time.Millisecond

	// closeTime is how long it may take to close connections.
	closeTime = 100 * time.Millisecond
)

// Quiesce does nothing: what begins a connection is kept for the next version, see [Listen].
func (s *server) Quiesce() {}

// Drain has clients close their connections. It does not wait for those that don't do so in time.
func (s *server) Drain(ctx context.Context) error {
	limit, end := context.WithCancel(ctx)
	defer end()
	go func() {
		if s.await(limit, &s.requests) {
			select {
			case <-time.After(goodbyeTime):
				end()
			case <-limit.Done():
			}
		}
	}()
	for s.shutDownOne(limit) {
		soon, cancel := context.WithTimeout(limit, handshakeTime)
		closed := s.await(soon, &s.conns)
		cancel()
		if closed {
			return nil
		}
		// The next server has got the connections whose handshake was under way.
	}
	if unfinished := s.Unfinished(); unfinished != "" && ctx.Err() != nil {
		return fmt.Errorf("%s: %w", unfinished, context.Cause(ctx))
	}
	return nil
}

// shutDownOne has the clients of one server close their connections. At the end of limit it closes
// those that are left, and returns false.
func (s *server) shutDownOne(limit context.Context) (inTime bool) {
	old, done := s.replace(), make(chan struct{})
	go func() {
		old.Shutdown(limit) // which waits for handlers, even at the end of limit
		close(done)
	}()
	select {
	case <-done:
	case <-limit.Done():
		select {
		case <-done:
		case <-time.After(closeTime):
		}
	}
	return limit.Err() == nil
}

// Unfinished says what Drain waits for.
func (s *server) Unfinished() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests == 0 {
		return ""
	}
	return fmt.Sprintf("%d requests of HTTP/3", s.requests)
}

// Resume does nothing: the last server goes on.
func (s *server) Resume() {}
