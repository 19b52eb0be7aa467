package httpserve

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/httpconn"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
)

// Streams ends responses without an end, such as server-sent events, and hijacked connections,
// such as WebSockets, when a restart begins. A restart waits for their handlers no longer than
// Spread and Grace together. An HTTP/2 connection whose client does not read is closed after twice
// Grace.
//
// The zero value is ready to use. Streams is safe for use by several goroutines. Set the fields
// before the first call of [Streams.Begin], and don't copy a Streams after that. One Streams is
// for all handlers of the program, or for those of one DrainOrder: from the first Begin on it takes
// part in each restart, like an [autorestart.Drainer] that is never unregistered.
type Streams struct {
	// Spread is the time over which clients come back after a restart has begun. If zero or
	// negative, they come back at once.
	//
	// In a restart with Overlap, another process serves already. Then streams end one after the
	// other, evenly over Spread, and [Stream.Retry] is zero. Spread is shortened so that
	// DrainTimeout leaves time for Grace.
	//
	// In any other restart new connections wait for the new version, so all streams end at once.
	// Then Retry is spread evenly over Spread.
	Spread time.Duration

	// Grace is how long a handler may take from the end of its stream until it calls
	// [Stream.End]. Then the connection is closed, and the restart does not wait for the handler
	// any more. If zero, it is one second. If negative, the connection is closed at once.
	Grace time.Duration

	// DrainOrder is when the streams end, among the drainers of the program, see
	// [autorestart.RegisterDrainer]. Give it the DrainOrder of the listener that the streams come
	// from, see [sockets.Config]. A program with several of these numbers needs a Streams for each.
	DrainOrder int

	registering sync.Once
	beside      *image.Beside

	mu      sync.Mutex
	open    map[*Stream]bool
	begun   uint64          // streams so far
	waiting int             // open streams whose connections were not closed
	closed  int             // streams whose connections were closed, in this drain
	ending  bool            // a drain is under way
	changed httpconn.Wakeup // broadcasts when waiting becomes less
}

// A Stream is a response or a hijacked connection that lasts until its client or a restart ends
// it.
type Stream struct {
	streams *Streams
	number  uint64 // older streams have lower ones
	target  target
	ending  chan struct{}

	// streams.mu protects what follows.
	leaving bool // ending is closed
	retry   time.Duration
	timer   *time.Timer // closes the connection; nil unless leaving
	closed  bool        // the connection was closed, or is about to be
	ended   bool

	closing sync.Mutex // locked while the connection is being closed
}

// defaultGrace is the value of a Grace of zero.
const defaultGrace = time.Second

func (s *Streams) grace() time.Duration {
	if s.Grace == 0 {
		return defaultGrace
	}
	return max(0, s.Grace)
}

// Begin begins a stream. It is called in the handler of r, whose response w is, before the
// connection is hijacked. The handler calls [Stream.End] before it returns, or whatever goes on
// with a hijacked connection calls End when it is done.
//
// If a restart has begun already, the stream ends at once. If the exec comes next, the first Begin
// of a Streams waits, and returns only if the exec fails.
//
// The server need not be one of [Serve]. For other servers, closing the connection after Grace
// means that its reads and writes fail. To close a connection of HTTP/2 or of another server,
// Begin needs the w of the server, or one that has a method Unwrap for
// [http.ResponseController].
func (s *Streams) Begin(w http.ResponseWriter, r *http.Request) *Stream {
	st := &Stream{streams: s, target: newTarget(w, r), ending: make(chan struct{})}
	s.registering.Do(func() {
		s.beside = &image.Current().Beside
		autorestart.RegisterDrainer(streamsDrainer{s})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*Stream]bool{}
	}
	s.begun++
	st.number = s.begun
	s.open[st] = true
	s.waiting++
	if s.ending {
		st.startEnding(s.lateRetry())
	}
	return st
}

// lateRetry is the Retry of a stream that begins when the channels of the others are closed.
func (s *Streams) lateRetry() time.Duration {
	if s.Spread <= 0 || s.beside.Serves() {
		return 0
	}
	return rand.N(s.Spread)
}

// Ending returns a channel that is closed when the stream has to end because of a restart. The
// handler then says goodbye to its client, and returns. A restart that is called off does not end
// further streams; streams whose channel is closed must still end.
func (st *Stream) Ending() <-chan struct{} { return st.ending }

// Retry returns how long the client should wait before it connects again. It is zero until the
// channel of [Stream.Ending] is closed. Send it to the client: in the field retry of an event, in
// the reason of a close frame, or in a message of the program.
func (st *Stream) Retry() time.Duration {
	st.streams.mu.Lock()
	defer st.streams.mu.Unlock()
	return st.retry
}

// End ends the stream. Further calls do nothing. Without a call of End, the next restart waits for
// Grace.
func (st *Stream) End() {
	s := st.streams
	s.mu.Lock()
	if st.ended {
		s.mu.Unlock()
		return
	}
	st.ended = true
	delete(s.open, st)
	if !st.closed {
		s.finished()
	}
	if st.timer != nil {
		st.timer.Stop()
	}
	s.mu.Unlock()
	st.closing.Lock() // the handler must not return while its w is in use
	defer st.closing.Unlock()
}

// finished is called with s locked, when a restart need not wait for a stream any more.
func (s *Streams) finished() {
	s.waiting--
	s.changed.Broadcast()
}

// startEnding closes the channel of Ending. It is called with the Streams locked.
func (st *Stream) startEnding(retry time.Duration) {
	if st.leaving {
		return
	}
	st.leaving, st.retry = true, retry
	close(st.ending)
	st.timer = time.AfterFunc(st.streams.grace(), st.close)
}

// close closes the connection of a stream that was not ended in time.
func (st *Stream) close() {
	st.closing.Lock()
	defer st.closing.Unlock()
	s := st.streams
	s.mu.Lock()
	ended := st.ended
	if !ended {
		st.closed = true
		s.closed++
		s.finished()
	}
	s.mu.Unlock()
	if !ended {
		st.target.close(s.grace())
	}
}

// streamsDrainer is a Streams as an [autorestart.Drainer].
type streamsDrainer struct{ *Streams }

func (d streamsDrainer) DrainOrder() int { return d.Streams.DrainOrder }

// Quiesce does nothing: no client may be sent away before all servers have stopped accepting.
func (d streamsDrainer) Quiesce() {}

// Drain ends the streams, and waits for their handlers.
func (d streamsDrainer) Drain(ctx context.Context) error {
	s := d.Streams
	s.end(ctx, s.beginEnding())
	err := s.await(ctx, func() bool { return s.waiting == 0 })
	if n := s.takeClosed(); n > 0 {
		report.Info("closed the connections of streams that did not end in time", "streams", n, "timeout", s.grace().String())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.Unfinished(), err)
	}
	return nil
}

// Unfinished says what Drain waits for.
func (d streamsDrainer) Unfinished() string {
	s := d.Streams
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.waiting {
	case 0:
		return ""
	case 1:
		return "1 stream"
	default:
		return fmt.Sprintf("%d streams", s.waiting)
	}
}

func (d streamsDrainer) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ending = false
}

// beginEnding returns the open streams, the oldest first.
func (s *Streams) beginEnding() []*Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending, s.closed = true, 0
	return slices.SortedFunc(maps.Keys(s.open), func(a, b *Stream) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
}

// end starts the end of all of the streams: at once, or over the time that ctx allows if another
// process serves.
func (s *Streams) end(ctx context.Context, all []*Stream) {
	begun, spread, paced := time.Now(), max(0, s.Spread), s.beside.Serves()
	if deadline, ok := ctx.Deadline(); ok && paced {
		spread = min(spread, max(0, deadline.Sub(begun)-s.grace()))
		paced = spread > 0
	}
	for i, st := range all {
		share := time.Duration(float64(spread) * float64(i) / float64(len(all)))
		if !paced {
			s.startEnding(st, share)
			continue
		}
		limit, cancel := context.WithDeadline(ctx, begun.Add(share))
		s.await(limit, func() bool { return st.ended })
		cancel()
		if ctx.Err() != nil {
			return
		}
		s.startEnding(st, 0)
	}
}

func (s *Streams) startEnding(st *Stream, retry time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !st.ended {
		st.startEnding(retry)
	}
}

// await waits until a condition holds, which is called with s locked. The error is the cause of the
// end of ctx.
func (s *Streams) await(ctx context.Context, condition func() bool) error {
	for {
		changed := s.changed.Next()
		s.mu.Lock()
		done := condition()
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// takeClosed returns how many connections were closed in this drain so far.
func (s *Streams) takeClosed() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, s.closed = s.closed, 0
	return n
}
