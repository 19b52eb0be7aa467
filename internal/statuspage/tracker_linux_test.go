//go:build !autorestart_portable

package statuspage

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// newPage returns a page of this process.
func newPage(t testing.TB) *Page {
	t.Helper()
	p, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func track(t testing.TB, p *Page) *Tracker {
	t.Helper()
	tracker := Track(p, Start{PID: os.Getpid(), Version: "v1"})
	tracker.Step(step.Ready, nil)
	tracker.setServes(true) // or will soon
	if _, err := tracker.Status(); err != nil {
		t.Fatal(err)
	}
	return tracker
}

// serve serves until the test ends, or stop is called.
func serve(t testing.TB, tracker *Tracker, restart func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tracker.Serve(ctx, restart) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err, _ := testprocess.Receive(t, "end of Serve", done); err != context.Canceled {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func readerOf(t testing.TB, pid int) *Reader {
	t.Helper()
	r, err := Find(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

var errBad = errors.New("bad file")

func TestRequestIsAnswered(t *testing.T) {
	tracker := track(t, newPage(t))
	serve(t, tracker, func(context.Context) error { return errBad })
	r := readerOf(t, os.Getpid())
	for range 50 { // more than a page has room for
		o, err := r.Request(t.Context())
		if err != nil || o.Kind != Rejected || o.Reason != "bad file" || o.Version != "v1" || o.Succeeded() {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	s, err := r.Status()
	if err != nil || s.PID != os.Getpid() || s.Phase != Serving || s.Last.Reason != "bad file" || s.Since.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	own, err := tracker.Status()
	if err != nil || own.Phase != s.Phase {
		t.Errorf("%+v, %v", own, err)
	}
}

// A request that is there before Serve is called is not lost.
func TestRequestBeforeServe(t *testing.T) {
	tracker := track(t, newPage(t))
	r := readerOf(t, os.Getpid())
	answered := make(chan Outcome, 1)
	go func() {
		o, _ := r.Request(t.Context())
		answered <- o
	}()
	testprocess.WaitFor(t, "request", func() bool {
		ids, err := tracker.page.requests()
		return len(ids) == 1 && err == nil
	})
	serve(t, tracker, func(context.Context) error { return errBad })
	if o, _ := testprocess.Receive(t, "outcome", answered); o.Reason != "bad file" {
		t.Errorf("%+v", o)
	}
}

// A program without Serve answers no request, and does not make its process wait.
func TestRequestToProgramWithoutServe(t *testing.T) {
	Track(newPage(t), Start{PID: os.Getpid(), Version: "v1"})
	if o, err := readerOf(t, os.Getpid()).Request(t.Context()); err != ErrNotServed {
		t.Errorf("%+v, %v", o, err)
	}
}

// A version that answers no request has executed the one that another version has taken.
func TestRequestIntoVersionWithoutServe(t *testing.T) {
	p := newPage(t)
	serve(t, track(t, p), func(ctx context.Context) error {
		Track(p, Start{PID: os.Getpid(), Generation: 1, Version: "v2"})
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if o, err := readerOf(t, os.Getpid()).Request(t.Context()); err != ErrGone {
		t.Errorf("%+v, %v", o, err)
	}
}

// Requests that arrive together have one restart. Each has an outcome, also if there are more than a
// page has room for.
func TestRequestsAtTheSameTime(t *testing.T) {
	tracker := track(t, newPage(t))
	var restarts atomic.Int32
	begin := make(chan struct{})
	serve(t, tracker, func(context.Context) error {
		restarts.Add(1)
		<-begin
		return errBad
	})
	const n = 3 * numRequests
	answered := make(chan error, n)
	for range n {
		r := readerOf(t, os.Getpid())
		go func() {
			_, err := r.Request(t.Context())
			answered <- err
		}()
	}
	testprocess.WaitFor(t, "full page", func() bool {
		ids, _ := tracker.page.requests()
		return len(ids) == numRequests
	})
	close(begin)
	for range n {
		if err, _ := testprocess.Receive(t, "outcome", answered); err != nil {
			t.Error(err)
		}
	}
	if got := restarts.Load(); got >= n {
		t.Errorf("%d restarts for %d requests", got, n)
	}
}

// The restart of a request that no process waits for any more is called off.
func TestWithdrawnRequest(t *testing.T) {
	tracker := track(t, newPage(t))
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	serve(t, tracker, func(ctx context.Context) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return context.Cause(ctx)
	})
	r := readerOf(t, os.Getpid())
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := r.Request(ctx)
		failed <- err
	}()
	testprocess.Receive(t, "restart", begun)
	cancel(errBad)
	if err, _ := testprocess.Receive(t, "end of the request", failed); err != errBad {
		t.Errorf("the request has failed with %v", err)
	}
	if err, _ := testprocess.Receive(t, "end of the restart", ended); err != errWithdrawn {
		t.Errorf("the restart has ended with %v", err)
	}
	testprocess.WaitFor(t, "status", func() bool {
		s, err := r.Status()
		return err == nil && s.Last.Kind == CalledOff && s.Last.Reason == errWithdrawn.Error()
	})
}

// A request whose process was killed before the daemon has seen it keeps its place until another one takes it.
func TestPlaceOfKilledProcessIsFree(t *testing.T) {
	p := newPage(t)
	track(t, p)
	for i := range numRequests {
		p.file.WriteAt(encodeRequest(newID()), requestsAt+int64(i)*requestSize)
	}
	r := readerOf(t, os.Getpid())
	if index, err := lockRequest(r.page); err != nil || index >= numRequests {
		t.Errorf("place %d, %v", index, err)
	}
}

func TestPageWithoutRoom(t *testing.T) {
	track(t, newPage(t))
	all := readerOf(t, os.Getpid())
	for range numRequests {
		// Another open file: one does not lock itself out.
		r := readerOf(t, os.Getpid())
		if _, err := lockRequest(r.page); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBad)
	if _, err := all.Request(ctx); !errors.Is(err, ErrBusy) || !errors.Is(err, errBad) {
		t.Errorf("got %v", err)
	}
}

func TestRestartsEndWithServe(t *testing.T) {
	tracker := track(t, newPage(t))
	begun := make(chan struct{})
	stop := serve(t, tracker, func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		return errors.Join(context.Cause(ctx), errBad)
	})
	r := readerOf(t, os.Getpid())
	answered := make(chan Outcome, 1)
	go func() {
		o, _ := r.Request(t.Context())
		answered <- o
	}()
	testprocess.Receive(t, "restart", begun)
	stop()
	if o, _ := testprocess.Receive(t, "outcome", answered); o.Kind != CalledOff || o.Reason != "context canceled bad file" {
		t.Errorf("%+v", o)
	}
}

func TestRestartThatReturnsNothing(t *testing.T) {
	serve(t, track(t, newPage(t)), func(context.Context) error { return nil })
	if o, err := readerOf(t, os.Getpid()).Request(t.Context()); err != nil || o.Kind != Rejected || o.Reason != errNoExec.Error() {
		t.Errorf("%+v, %v", o, err)
	}
}

// The next image adopts the page with the requests that are under way.
func TestRequestSurvivesExec(t *testing.T) {
	for name, test := range map[string]struct {
		start Start
		steps []step.Kind
		want  Outcome
	}{
		"ready":       {Start{}, []step.Kind{step.Ready}, Outcome{Kind: Ready, Version: "v2"}},
		"healthy":     {Start{OnTrial: func() bool { return true }}, []step.Kind{step.Ready, step.Healthy}, Outcome{Kind: Healthy, Version: "v2"}},
		"rolled back": {Start{RolledBack: errBad}, nil, Outcome{Kind: RolledBack, Version: "v2", Reason: "bad file"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPage(t)
			before := track(t, p)
			executed := make(chan struct{})
			serve(t, before, func(ctx context.Context) error {
				before.Step(step.Restarting, nil)
				close(executed)
				<-ctx.Done() // an exec does not return
				return context.Cause(ctx)
			})
			r := readerOf(t, os.Getpid())
			answered := make(chan Outcome, 1)
			go func() {
				o, _ := r.Request(t.Context())
				answered <- o
			}()
			testprocess.Receive(t, "exec", executed)
			again, err := openAgain(int(p.file.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			next, err := Adopt(again)
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()
			test.start.PID, test.start.Generation, test.start.Version = os.Getpid(), 1, "v2"
			after := Track(next, test.start)
			for _, kind := range test.steps {
				if len(answered) > 0 {
					t.Errorf("there is an outcome before %q", kind)
				}
				after.Step(kind, nil)
			}
			o, _ := testprocess.Receive(t, "outcome", answered)
			if o.Generation, o.At = 0, (time.Time{}); o != test.want {
				t.Errorf("%+v, want %+v", o, test.want)
			}
		})
	}
}

// Readers never see a status of which a part is another's.
func TestStatusIsNeverTorn(t *testing.T) {
	tracker := track(t, newPage(t))
	r := readerOf(t, os.Getpid())
	stopped, written := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { written <- n }()
		for ; ; n++ {
			select {
			case <-stopped:
				return
			default:
			}
			// Long and short ones, in turns.
			reason := strconv.Itoa(n)
			for len(reason) < n%2*400 {
				reason += " " + reason
			}
			tracker.Step(step.Rejected, errors.New(reason))
		}
	}()
	for range 2000 {
		s, err := r.Status()
		if parts := slices.Compact(strings.Fields(s.Last.Reason)); err != nil || len(parts) > 1 {
			t.Errorf("%+v, %v", s, err)
			break
		}
	}
	close(stopped)
	if n := <-written; n < 10 {
		t.Skipf("only %d records were written meanwhile", n)
	}
}

// A version that is killed while it writes leaves the record before.
func TestRecordThatIsNotWhole(t *testing.T) {
	p := newPage(t)
	tracker := track(t, p)
	tracker.Step(step.Draining, nil)
	torn := encodeSlot(p.sequence+1, tracker.book.encode())
	p.file.WriteAt(torn[:len(torn)/2], slotOffset(p.sequence+1))
	if s, err := readerOf(t, os.Getpid()).Status(); err != nil || s.Phase != Draining {
		t.Errorf("%+v, %v", s, err)
	}
	again, _ := openAgain(int(p.file.Fd()))
	next, err := Adopt(again)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	Track(next, Start{PID: os.Getpid(), Generation: 1, Version: "v2"})
	if s, err := readerOf(t, os.Getpid()).Status(); err != nil || s.Version != "v2" || s.Phase != Starting {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestRequestsLeakNothing(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	once := func() {
		p := newPage(t)
		tracker := track(t, p)
		stop := serve(t, tracker, func(context.Context) error { return errBad })
		r, err := Find(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Request(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		r.Close()
		p.Close()
	}
	once() // what the runtime opens once
	files, goroutines := open(), runtime.NumGoroutine()
	for range 20 {
		once()
	}
	testprocess.WaitFor(t, "end of goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
	testprocess.WaitFor(t, "closed files", func() bool { return open() <= files })
}
