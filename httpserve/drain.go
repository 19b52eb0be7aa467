package httpserve

import (
	"context"
	"fmt"
	"time"
)

// DrainOrder is that of the listeners.
func (s *server) DrainOrder() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order
}

// Quiesce begins to close idle connections. Resume ends that.
func (s *server) Quiesce() {
	start := time.Now()
	s.drainingSince.Store(&start)
	s.http2.GoAway()
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

// Drain waits for the connections that no listener of package sockets waits for.
func (s *server) Drain(ctx context.Context) error {
	for {
		changed := s.changed.Next()
		if n, _ := s.unfinished(); n == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", s.Unfinished(), context.Cause(ctx))
		}
	}
}

// Unfinished says what Drain waits for.
func (s *server) Unfinished() string {
	n, active := s.unfinished()
	switch n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("1 HTTP connection, %d with a request", active)
	default:
		return fmt.Sprintf("%d HTTP connections, %d with a request", n, active)
	}
}

// unfinished counts the connections that Drain waits for, and those of them with a request.
func (s *server) unfinished() (n, active int) {
	for _, v := range s.conns.Range {
		if c := v.(*conn); c.socket == nil {
			n++
			if c.isActive() {
				active++
			}
		}
	}
	return n, active
}

func (s *server) Resume() {
	s.http2.Resume()
	s.stopSweeping()
	s.drainingSince.Store(nil)
}

// sweepUntil closes connections whose timeout has passed.
func (s *server) sweepUntil(stop <-chan struct{}, drainStart time.Time) {
	for {
		changed := s.changed.Next()
		timer := time.NewTimer(s.sweep(drainStart))
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

// sweep returns how long the next timeout takes.
func (s *server) sweep(drainStart time.Time) time.Duration {
	next := noTimeout
	for _, v := range s.conns.Range {
		c := v.(*conn)
		grouped := s.http2.Has(c.Conn)
		if grouped {
			c.halfClose()
		}
		next = min(next, c.closeIfDue(drainStart, grouped))
	}
	return next
}
