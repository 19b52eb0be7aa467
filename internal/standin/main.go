package standin

import (
	"context"
	"math"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A StandIn is a stand-in as its main process has it.
type StandIn struct {
	set     *Set
	process process
	link    *link
	crossed bool    // the previous image has handed it over
	written written // before it serves; nil after that

	beginning sync.Once
	started   chan struct{} // closed when it watches this process, or has ended

	signals chan syscall.Signal // to be forwarded
	pong    chan struct{}
	readied chan struct{} // closed by the message
	removed chan struct{} // closed when it has ended and is out of the set

	pinging sync.Mutex // held until there is an answer

	mu     sync.Mutex
	reason string        // for which the version says that it does not work
	said   chan struct{} // closed when there is a reason
	silent bool          // it was killed because it did not answer

	// The mutex of the set guards these.
	role     role
	drain    time.Duration // how long it may drain
	deadline time.Time     // when it is killed; zero unless it retires
}

// A process is a child of this one.
type process interface {
	pid() int
	inherited() int                  // the number of its pidfd, which is open until close
	close()                          // after its end
	done() <-chan struct{}           // closed when it was waited for
	how() (text string, killed bool) // it has ended; by SIGKILL, which no program does by itself
	killGroup()                      // sends SIGKILL to its process group, unless it was waited for
	killGroupAtEnd(kill bool)        // the same, when it ends
}

// written is what a stand-in has written to its standard streams.
type written interface {
	tail() string
	tooMuch() bool
	close()
}

func newStandIn(s *Set) *StandIn {
	return &StandIn{
		set: s, started: make(chan struct{}), readied: make(chan struct{}), removed: make(chan struct{}), said: make(chan struct{}),
		signals: make(chan syscall.Signal, maxSignals), pong: make(chan struct{}, 1),
	}
}

// connect gives x its process, and the channel to that.
func (x *StandIn) connect(p process, t transport) {
	x.process, x.link = p, newLink(t, x.take, x.received)
}

// run begins to receive what the stand-in sends, and to wait for its end.
func (x *StandIn) run() {
	go x.link.run()
	go x.forward()
	go func() {
		<-x.process.done()
		x.begin()
		x.awaitLast()
		x.set.remove(x)
		x.set.tell()
	}()
}

func (x *StandIn) begin() { x.beginning.Do(func() { close(x.started) }) }

// awaitLast waits until what a stand-in has sent before its end is received. It may have left the
// other end of the channel to a child, which keeps it open.
func (x *StandIn) awaitLast() {
	select {
	case <-x.link.ended:
	case <-time.After(graceTime):
	}
}

// take takes a connection that the stand-in gives, for this process or for the stand-in that
// serves. What a stand-in gives before it serves is for this process.
func (x *StandIn) take(c image.Conn) (taken bool) {
	other := x.set.servingBeside(x)
	if other == nil {
		return x.set.image.Beside.Take(c)
	}
	err := other.Give(c)
	taken = err == nil || err == image.ErrLost // for the stand-in, the one that serves had it when that ended
	if taken {
		sys.NewFD(c.FD).Close()
	}
	return taken
}

// received is called with each message but those about connections.
func (x *StandIn) received(m message) {
	switch m.kind {
	case started:
		x.begin()
	case ready:
		select {
		case <-x.readied:
		default:
			close(x.readied)
		}
	case rejected:
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.reason == "" {
			x.reason = m.text
			close(x.said)
		}
	case pong:
		select {
		case x.pong <- struct{}{}:
		default:
		}
	case farewell:
		x.set.image.Store.TakeStates(m.fd)
	}
}

// A Failure says why a version does not work as a stand-in.
type Failure struct {
	Text    string
	Written string // the last lines of its output; "" if there are none
	Killed  bool   // by SIGKILL, which no program does by itself
}

func (f *Failure) Error() string {
	if f.Written != "" {
		return f.Text + "; it has written " + strconv.Quote(f.Written)
	}
	return f.Text
}

// checkInterval is the time between two looks at how much a stand-in has written.
const checkInterval = 100 * time.Millisecond

// AwaitReady waits until the stand-in is ready. Otherwise it kills its process group, and returns
// a [*Failure], or the cause of the end of ctx.
func (x *StandIn) AwaitReady(ctx context.Context, timeout time.Duration) error {
	err := x.awaitReady(ctx, timeout)
	if err == nil {
		return nil
	}
	if f, ok := err.(*Failure); ok {
		f.Written = x.written.tail()
	}
	x.Kill()
	return err
}

func (x *StandIn) awaitReady(ctx context.Context, timeout time.Duration) error {
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	for {
		select {
		case <-x.readied:
			return nil
		case <-x.said:
			x.mu.Lock()
			defer x.mu.Unlock()
			return &Failure{Text: x.reason}
		case <-x.process.done():
			return x.ended()
		case <-x.link.ended:
			return x.closed()
		case <-limit.C:
			return &Failure{Text: "it was not ready within " + timeout.String()}
		case <-check.C:
			if x.written.tooMuch() {
				return &Failure{Text: "it has written more than 64 MiB before it was ready"}
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ended returns how the stand-in has ended. What it has said last may come a moment later.
func (x *StandIn) ended() *Failure {
	x.awaitLast()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.silent:
		return &Failure{Text: errNoAnswer.Error(), Killed: true}
	case x.reason != "":
		return &Failure{Text: x.reason}
	}
	text, killed := x.process.how()
	return &Failure{Text: text, Killed: killed}
}

// closed returns why no message can come any more.
func (x *StandIn) closed() *Failure {
	select {
	case <-x.process.done():
		return x.ended()
	case <-time.After(graceTime):
		return &Failure{Text: "it has closed the descriptor of the channel to its main process"}
	}
}

// Kill kills the process group of the stand-in, and waits for its end.
func (x *StandIn) Kill() {
	x.process.killGroup()
	select {
	case <-x.removed:
	case <-time.After(graceTime): // in uninterruptible sleep
	}
	x.closeWritten()
}

func (x *StandIn) closeWritten() {
	if x.written != nil {
		x.written.close()
		x.written = nil
	}
}

// Serve has the stand-in, which is ready, accept. When its main process ends, or when it retires,
// it may drain for the given time.
func (x *StandIn) Serve(ctx context.Context, drain time.Duration) error {
	x.set.mu.Lock()
	x.role, x.drain = serving, drain
	x.set.mu.Unlock()
	x.process.killGroupAtEnd(false)
	x.closeWritten()
	return x.send(ctx, message{kind: serve, n: milliseconds(drain), fd: -1})
}

// send sends a message. If that fails, the stand-in has closed its channel, as when it ends.
func (x *StandIn) send(ctx context.Context, m message) error {
	err := x.link.sendWithin(ctx, m)
	if err == nil || ctx.Err() != nil {
		return err
	}
	select {
	case <-x.process.done():
		return x.ended()
	case <-time.After(graceTime):
		return err
	}
}

func milliseconds(d time.Duration) uint64 { return uint64(max(0, d.Milliseconds())) }

// Ended returns a channel that is closed when the stand-in has ended.
func (x *StandIn) Ended() <-chan struct{} { return x.process.done() }

// Err returns why the stand-in has ended; nil if it has not.
func (x *StandIn) Err() error {
	select {
	case <-x.process.done():
		return x.ended()
	default:
		return nil
	}
}

// Give gives a connection to the stand-in, see [image.Beside].
func (x *StandIn) Give(c image.Conn) error { return x.link.give(c) }

// Ping returns an error unless the stand-in answers. Otherwise it has ended, or it was stopped or
// hangs, and is killed.
func (x *StandIn) Ping() error { return x.ping(context.Background(), pingTimeout) }

func (x *StandIn) ping(ctx context.Context, timeout time.Duration) error {
	x.pinging.Lock()
	defer x.pinging.Unlock()
	answered, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case <-x.pong: // of an earlier ping
	default:
	}
	if err := x.send(answered, message{kind: ping, fd: -1}); err != nil && answered.Err() == nil {
		return err
	}
	select {
	case <-x.pong:
		return nil
	case <-x.process.done():
		return x.ended()
	case <-answered.Done():
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	x.mu.Lock()
	x.silent = true
	x.mu.Unlock()
	report.Warn("killing the stand-in: it does not answer", "pid", strconv.Itoa(x.process.pid()), "timeout", timeout.String())
	x.Kill()
	return x.ended()
}

const (
	// watchInterval is the time between two pings of a stand-in that serves.
	watchInterval = time.Second

	// watchTimeout is how long such a stand-in may stand still. It is killed after that, and loses
	// its requests, so this is longer than a machine that is short of memory or CPU takes.
	watchTimeout = 15 * time.Second
)

// Watch kills the process group of the stand-in when that stands still. It returns when the
// stand-in has ended, or retires, and at the end of ctx.
func (x *StandIn) Watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for x.serves() && x.ping(ctx, watchTimeout) == nil {
		select {
		case <-ticker.C:
		case <-x.process.done():
			return
		case <-ctx.Done():
			return
		}
	}
}

func (x *StandIn) serves() bool {
	x.set.mu.Lock()
	defer x.set.mu.Unlock()
	return x.role == serving
}

// Retire has the stand-in stop accepting, drain and exit. If it has not done that in its time, its
// process group is killed. Retire does not wait. Calls after the first do nothing.
func (x *StandIn) Retire() {
	x.set.mu.Lock()
	defer x.set.mu.Unlock()
	if x.role == retiring {
		return
	}
	drain := min(max(0, x.drain), math.MaxInt64-graceTime)
	x.role, x.deadline = retiring, time.Now().Add(drain+graceTime)
	go x.leave(x.drain, x.deadline)
}

// leave tells the stand-in to drain within the given time and to exit, and waits for that until the
// deadline.
func (x *StandIn) leave(drain time.Duration, deadline time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	x.link.sendWithin(ctx, message{kind: retire, n: milliseconds(drain), fd: -1})
	select {
	case <-x.process.done():
	case <-ctx.Done():
		report.Warn("killing the stand-in: it has not ended in time", "pid", strconv.Itoa(x.process.pid()), "timeout", drain.String())
		x.process.killGroup()
	}
}
