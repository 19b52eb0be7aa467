package statuspage

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/step"
)

// pollInterval is the time between two looks for requests on systems without inotify or /proc, and
// between two looks of a [Reader] at the process.
const pollInterval = time.Second

// A Tracker writes the steps of restarts into a [Page] as a status, and executes the requests that
// other processes write into it. Any goroutine may call its methods.
type Tracker struct {
	start Start
	wake  chan struct{} // receives after a step that may let requests be taken

	mu     sync.Mutex // nothing inside
	page   *Page
	book   *book
	failed error // of the last write
}

// Track begins the status of this version in the page. Call it before [autorestart.Ready], and not in a
// stand-in. Requests that a previous version has executed stay under way until this version is ready,
// and healthy if it is on trial. After a rollback they have their outcome now.
func Track(page *Page, start Start) *Tracker {
	previous, err := page.read()
	if err != nil {
		previous = record{} // a new page, or the previous version has ended while it wrote its first record
	}
	t := &Tracker{start: start, wake: make(chan struct{}, 1), page: page, book: begin(previous, start, time.Now())}
	t.failed = page.write(&t.book.record)
	return t
}

// Status returns the status that other processes see, and the error of the last write of it.
func (t *Tracker) Status() (Status, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.book.Status, t.failed
}

// Step takes a step of a restart into account, as image.OnStep reports it. It ignores the steps of a
// rollback, and those that begin no phase. It returns soon, and calls nothing but Start.OnTrial.
func (t *Tracker) Step(kind step.Kind, err error) {
	switch kind {
	case step.Seen, step.Started, step.ModeChanged:
		return // nothing that a status has
	}
	trial := kind == step.Ready && t.start.OnTrial != nil && t.start.OnTrial()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.book.step(kind, err, trial, t.arrived(), time.Now())
	t.write()
}

// Ready says that this version is ready, if that is not known: Ready was called before [Track], or never is.
func (t *Tracker) Ready() {
	t.mu.Lock()
	ready := t.book.ready
	t.mu.Unlock()
	if !ready {
		t.Step(step.Ready, nil)
	}
}

// Watching says which path the program watches, and how, see Status.Watch. With an empty mode it says which path a
// restart is for, unless a path is watched.
func (t *Tracker) Watching(path, mode string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mode == "" && t.book.Watch != "" {
		return
	}
	if t.book.Path != path || t.book.Watch != mode {
		t.book.Path, t.book.Watch = path, mode
		t.write()
	}
}

// Unwatched says that the program does not watch the path any more.
func (t *Tracker) Unwatched(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.book.Path == path && t.book.Watch != "" {
		t.book.Watch = ""
		t.write()
	}
}

// arrived returns the requests that are in the page. It is called with t locked.
func (t *Tracker) arrived() (ids []string) {
	ids, err := t.page.requests()
	if err != nil { // of a shortage: nothing has changed as far as is known
		for _, e := range t.book.requests {
			ids = append(ids, e.id)
		}
	}
	return ids
}

// write is called with t locked.
func (t *Tracker) write() {
	t.failed = t.page.write(&t.book.record)
	signal(t.wake)
}

// Serve executes the requests of other processes, and those that have arrived before, until ctx ends.
// It calls restart for each that arrives while no restart is under way; requests that arrive
// together have one call. restart is [autorestart.Restarter.Restart]: it returns only if nothing was
// executed. Its context ends when the processes that have asked for the restart don't wait for it
// any more.
//
// Serve waits by inotify. Without inotify or /proc it looks once a second. It returns the cause of
// the end of ctx.
func (t *Tracker) Serve(ctx context.Context, restart func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	changed := changes(ctx, t.page.file, pollInterval)
	t.setServes(true)
	defer t.setServes(false)
	var r *running
	for {
		if r == nil {
			r = t.begin(ctx, restart)
		} else if t.withdrawn(r.ids) {
			r.cancel(errWithdrawn)
		}
		select {
		case <-changed:
		case <-t.wake:
		case <-r.ended():
			t.fail(r)
			r = nil
		case <-ctx.Done():
			if r != nil {
				<-r.ended()
				t.fail(r)
			}
			return context.Cause(ctx)
		}
	}
}

func (t *Tracker) setServes(serves bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.book.Serves = serves
	t.write()
}

// errWithdrawn is the cause of the end of a restart's context.
var errWithdrawn = errors.New("no process waits for the restart any more")

// running is a call of restart.
type running struct {
	ids    []string // of the requests that it is for
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // after done
}

// ended returns a channel that is closed when the call has returned. It never is for no call.
func (r *running) ended() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.done
}

// begin begins a restart if there are requests for one.
func (t *Tracker) begin(ctx context.Context, restart func(context.Context) error) *running {
	t.mu.Lock()
	defer t.mu.Unlock()
	arrived := t.arrived()
	known := len(t.book.requests)
	t.book.keep(arrived)
	ids := t.book.take(arrived)
	if len(ids) == 0 {
		if len(t.book.requests) != known {
			t.failed = t.page.write(&t.book.record)
		}
		return nil
	}
	t.failed = t.page.write(&t.book.record)
	r := &running{ids: ids, done: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	go func() {
		defer close(r.done)
		r.err = restart(r.ctx)
	}()
	return r
}

// withdrawn reports whether no process waits for any of the requests.
func (t *Tracker) withdrawn(ids []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	arrived := t.arrived()
	return !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(arrived, id) })
}

// fail says why the restart, which has returned, has failed.
func (t *Tracker) fail(r *running) {
	kind, err := Rejected, r.err
	switch {
	case err == nil:
		err = errNoExec
	case r.ctx.Err() != nil && errors.Is(err, context.Cause(r.ctx)):
		kind = CalledOff
	}
	r.cancel(nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.book.failed(r.ids, kind, err, time.Now())
	t.write()
}

// changes returns a channel that receives after the file has changed, until ctx ends. It may also
// receive at other times.
func changes(ctx context.Context, f *os.File, interval time.Duration) <-chan struct{} {
	changed := make(chan struct{}, 1)
	w, err := watch(f)
	if err != nil {
		go func() {
			ticker := time.NewTicker(interval)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
					signal(changed)
				case <-ctx.Done():
					return
				}
			}
		}()
		return changed
	}
	context.AfterFunc(ctx, func() { w.Close() })
	go func() {
		for b := make([]byte, 4096); ; {
			if _, err := w.Read(b); err != nil {
				return // it is closed
			}
			signal(changed)
		}
	}()
	return changed
}

// signal has c receive, unless a value waits there.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
