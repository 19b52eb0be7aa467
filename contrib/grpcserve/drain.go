package grpcserve

import (
	"context"
	"fmt"
	"time"
)

const (
	// pingTimeout is how long a client has to answer the PING of a drain. Then the server sends its last
	// GOAWAY: calls that it has not got by then are the client's to repeat.
	pingTimeout = time.Second

	// firstPause and lastPause are the pauses between two looks for connections that package grpc has
	// added during a drain. They begin anew when a handshake ends, which is when that happens.
	firstPause = time.Millisecond
	lastPause  = 50 * time.Millisecond
)

// DrainOrder is that of the listeners.
func (s *server) DrainOrder() int { return s.order }

// Quiesce begins to end the connections. Resume ends that, but for the connections that have got
// a GOAWAY.
func (s *server) Quiesce() {
	restart.begin() // first: a watcher of the health gets its answer with the GOAWAY
	start := time.Now()
	stop, stopped := make(chan struct{}), make(chan struct{})
	s.mu.Lock()
	s.resumed = make(chan struct{})
	s.stopDraining = func() {
		close(stop)
		<-stopped
	}
	s.mu.Unlock()
	s.fields.drain()
	go func() {
		defer close(stopped)
		s.drainUntil(stop, start)
	}()
}

// drainUntil drains the connections that package grpc has got since the drain began, and closes those
// whose clients take too long to begin.
func (s *server) drainUntil(stop <-chan struct{}, start time.Time) {
	pause := firstPause
	begun := map[transport]time.Time{} // when each of them was drained
	for {
		joined := s.joined.Next()
		now := time.Now()
		for _, t := range s.fields.drain() {
			if begun[t].IsZero() {
				begun[t] = now
			}
		}
		s.fields.endPings(func(t transport) bool {
			return !begun[t].IsZero() && now.Sub(begun[t]) >= pingTimeout
		})
		timer := time.NewTimer(min(pause, s.closeDue(start, now)))
		select {
		case <-timer.C:
			pause = min(2*pause, lastPause)
		case <-joined:
			pause = firstPause
		case <-stop:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// closeDue returns how long the next client has to begin.
func (s *server) closeDue(start, now time.Time) time.Duration {
	next := time.Hour
	for _, c := range s.connections() {
		if left := c.closeIfDue(start, now); left > 0 {
			next = min(next, left)
		}
	}
	return next
}

// Drain waits until the connections are closed. Meanwhile it cancels the contexts of streams when their
// time has come.
func (s *server) Drain(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		if left := streamTimeout(time.Until(deadline)); left > 0 {
			timer := time.AfterFunc(left, restart.cancelStreams)
			defer timer.Stop()
		} else {
			restart.cancelStreams() // a timer would be stopped before that, if ctx has ended
		}
	}
	for {
		left := s.left.Next()
		if s.connectionCount() == 0 {
			return nil
		}
		select {
		case <-left:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", s.Unfinished(), context.Cause(ctx))
		}
	}
}

// Unfinished says what Drain waits for.
func (s *server) Unfinished() string {
	conns := s.connectionCount()
	if conns == 0 {
		return ""
	}
	return plural(conns, "gRPC connection") + " with " + plural(s.fields.calls(), "call")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (s *server) Resume() {
	s.mu.Lock()
	stop, resumed := s.stopDraining, s.resumed
	s.stopDraining, s.resumed = nil, nil
	s.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	close(resumed)
	restart.end()
}
