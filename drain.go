package autorestart

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// A Drainer is a part of the program that accepts work from outside and is drained before
// an exec, such as a server or the consumer of a queue.
//
// Each method is called on a goroutine of its own, after the previous method has
// returned. The methods may call this package, but Quiesce and Resume must not unregister
// the Drainer itself. If a method panics or does not return in time, that is logged with
// the type of the Drainer, and the restart goes on without it.
//
// A Drainer may also have a method DrainOrder() int. RegisterDrainer calls it once. Drainers
// with a lower number are quiesced and drained before those with a higher one. A Drainer
// without the method has the number 0. See [RegisterDrainer].
//
// A Drainer may also have a method Unfinished() string. It returns the work that Drain
// waits for, such as "3 jobs", or "" if there is none. Log lines and [Event.Unfinished]
// contain that text. For a Drainer without the method, they contain its type. Unfinished
// is called while Drain is running, and when the time for Drain is up.
type Drainer interface {
	// Quiesce stops accepting work and returns soon, within a second. Callers that bring
	// work block; they must not fail.
	Quiesce()

	// Drain waits until all accepted work is done. If ctx ends first, Drain returns
	// within a second, with an error that names the unfinished work. The exec ends that
	// work.
	Drain(ctx context.Context) error

	// Resume accepts work again, because the restart was called off. It returns soon,
	// within a second.
	Resume()
}

// defaultDrainTimeout is the value of a DrainTimeout of zero.
const defaultDrainTimeout = 10 * time.Second

func (r *Restarter) drainTimeout() time.Duration {
	if r.DrainTimeout == 0 {
		return defaultDrainTimeout
	}
	return r.DrainTimeout
}

// RegisterDrainer registers d until unregister is called. Before each exec all registered
// drainers are quiesced, in the order in which they were registered. Then they are
// drained, all at the same time. After [Restarter.DrainTimeout] the exec takes place even
// if work is left. If the restart is called off, the drainers resume, in the opposite
// order.
//
// Some parts have to work until others have finished, such as a database pool until the
// servers have. Such a part has a method DrainOrder with a higher number. It is quiesced
// when all drainers with lower numbers have been drained. All of them together have one
// DrainTimeout. When that is over, all drainers that are left are quiesced at once, and
// their Drain gets a context that has ended.
//
// A Drainer that is registered while others are drained is quiesced and drained, too: at
// once if the drain has come to its number, and otherwise when it does.
// When all drainers have been drained and the exec comes next, RegisterDrainer blocks. It
// returns if the exec fails.
func RegisterDrainer(d Drainer) (unregister func()) { return image.Current().Drainers.Register(d) }

// Draining returns a channel that is closed when the program begins to be drained for a
// restart: when the drainers with the lowest number have been quiesced. Long-running
// handlers should return when it is closed. If the restart is called off, the next call of
// Draining returns another channel.
func Draining() <-chan struct{} { return image.Current().Drainers.Draining() }

// drain quiesces and drains what is registered for that, if anything is. Unless it
// fails, the caller resumes where there is no exec. It also returns for how long the exec
// may be tried.
func (p *process) drain(ctx context.Context, r *Restarter, times *RestartTimes, o observer) (_ drain.Drained, limit time.Duration, err error) {
	drainers := p.image().Drainers.Notifier()
	if drainers == nil {
		times.Quiesced, times.Drained = times.Judged, times.Judged
		return nothingToDrain{}, execRetryLimit, nil
	}
	o.draining(EventDraining, times, nil)
	d, err := drainers.Begin(ctx, r.drainTimeout(), func(unfinished []string) {
		o.draining(EventDraining, times, unfinished)
	})
	if err != nil {
		return nil, 0, errEnded
	}
	times.Quiesced, times.Drained = d.Times()
	return d, drainedRetryLimit, nil
}

// nothingToDrain stands for a drain where nothing is registered.
type nothingToDrain struct{}

func (nothingToDrain) Times() (quiesced, drained time.Time) { return }
func (nothingToDrain) Unfinished() []string                 { return nil }
func (nothingToDrain) Seal() error                          { return nil }
func (nothingToDrain) Resume()                              {}

// ErrInHandler is returned by [Restarter.Restart] when an HTTP handler of a program with
// drainers calls it. The restart would wait for that handler.
var ErrInHandler = errors.New("autorestart: Restart was called by an HTTP handler, and a restart waits for handlers: " +
	"call Restart in a goroutine, with a context that outlives the request, and return")

// handlerCallers are the functions that call handlers, in all supported releases of Go.
var handlerCallers = [...]string{
	"net/http.(*conn).serve",
	"net/http.(*http2serverConn).runHandler",
	"net/http/internal/http2.(*serverConn).runHandler", // since Go 1.27
	"golang.org/x/net/http2.(*serverConn).runHandler",
	"net/http.(*timeoutHandler).ServeHTTP", // in a goroutine, for which it waits
}

// calledByHandler reports whether an HTTP handler runs on this goroutine and there is
// something to drain.
func calledByHandler() bool {
	if image.Current().Drainers.Notifier() == nil {
		return false
	}
	var pcs [32]uintptr
	for skip := 1; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		if n == 0 {
			return false
		}
		frames := runtime.CallersFrames(pcs[:n])
		for more := true; more; {
			var frame runtime.Frame
			frame, more = frames.Next()
			for _, name := range handlerCallers {
				if strings.HasPrefix(frame.Function, name) {
					return true
				}
			}
		}
	}
}

// A drainedError is a reason that may pass, for which an exec failed after everything was
// drained, or BeforeExec called. Each attempt costs the clients as much as a restart.
type drainedError struct{ error }

// drainedFor returns err, for which the program was drained, or BeforeExec called.
func drainedFor(err error) error {
	if isRetryable(err) {
		return &drainedError{err}
	}
	return err
}

// newDrainedRetry returns the delays between such attempts.
func newDrainedRetry() watch.Backoff { return watch.Backoff{First: time.Second, Last: time.Minute} }
