package httpserve_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
)

// testStreams runs a test on a simulated clock, in an image of its own.
func testStreams(t *testing.T, test func(t *testing.T)) {
	imagetest.Start(t)
	synctest.Test(t, test)
}

func begin(s *httpserve.Streams) *httpserve.Stream {
	return s.Begin(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

// beginMany begins streams, and calls handle for each when it has to end.
func beginMany(s *httpserve.Streams, n int, handle func(i int, st *httpserve.Stream)) {
	for i := range n {
		st := begin(s)
		go func() {
			<-st.Ending()
			handle(i, st)
		}()
	}
}

// drainNow drains the image, and returns how long that took.
func drainNow(t *testing.T, timeout time.Duration) (drain.Drained, time.Duration) {
	t.Helper()
	start := time.Now()
	d, err := image.Current().Drainers.Begin(t.Context(), timeout, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d, time.Since(start)
}

func isEnding(st *httpserve.Stream) bool {
	select {
	case <-st.Ending():
		return true
	default:
		return false
	}
}

// New connections wait for the exec, so all streams end at once, and their clients are spread.
func TestStreamsEndAtOnceWithHintsThatAreSpread(t *testing.T) {
	testStreams(t, func(t *testing.T) {
		s := &httpserve.Streams{Spread: time.Minute}
		hints := make([]time.Duration, 6)
		beginMany(s, len(hints), func(i int, st *httpserve.Stream) {
			time.Sleep(100 * time.Millisecond)
			hints[i] = st.Retry()
			st.End()
		})
		d, took := drainNow(t, time.Hour)
		if took != 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second, 40 * time.Second, 50 * time.Second}
		if !slices.Equal(hints, want) {
			t.Errorf("hints: %v, expected %v", hints, want)
		}
		late := begin(s)
		if !isEnding(late) || late.Retry() < 0 || late.Retry() >= time.Minute {
			t.Errorf("a stream that begins late: ending %t, retry %v", isEnding(late), late.Retry())
		}
		late.End()
		d.Resume()
		next := begin(s)
		if isEnding(next) || next.Retry() != 0 {
			t.Errorf("a stream after a restart that was called off: ending %t, retry %v", isEnding(next), next.Retry())
		}
		next.End()
	})
}

// Another process serves meanwhile, so the streams end one after the other.
func TestStreamsAreSpreadBesideAnotherProcess(t *testing.T) {
	for _, c := range []struct{ spread, timeout, want time.Duration }{
		{time.Minute, time.Hour, time.Minute},
		{time.Minute, 31 * time.Second, 30 * time.Second}, // a second is for the last
		{time.Minute, 500 * time.Millisecond, 0},
		{0, time.Hour, 0},
		{-time.Minute, time.Hour, 0},
	} {
		testStreams(t, func(t *testing.T) {
			image.Current().Beside.SetServes(true)
			s := &httpserve.Streams{Spread: c.spread}
			start := time.Now()
			var ends []time.Duration
			var mu = make(chan bool, 1)
			beginMany(s, 6, func(i int, st *httpserve.Stream) {
				if st.Retry() != 0 {
					t.Errorf("retry %v", st.Retry())
				}
				mu <- true
				ends = append(ends, time.Since(start))
				<-mu
				st.End()
			})
			gone := begin(s)
			go func() {
				time.Sleep(time.Millisecond)
				gone.End() // by its client: nothing waits for its turn
			}()
			d, took := drainNow(t, c.timeout)
			for i, end := range ends {
				if want := c.want * time.Duration(i) / 7; end != want {
					t.Errorf("%v, %v: stream %d ended after %v, expected %v", c.spread, c.timeout, i, end, want)
				}
			}
			if want := max(c.want*5/7, time.Millisecond); len(ends) != 6 || took != want {
				t.Errorf("%v, %v: %d streams ended, in %v, expected %v", c.spread, c.timeout, len(ends), took, want)
			}
			d.Resume()
		})
	}
}

// A handler that does not end its stream holds nothing up for longer than Grace.
func TestHandlerThatIgnoresTheEnd(t *testing.T) {
	for grace, want := range map[time.Duration]time.Duration{0: time.Second, -1: 0, time.Minute: time.Minute} {
		testStreams(t, func(t *testing.T) {
			s := &httpserve.Streams{Grace: grace, Spread: time.Hour}
			stays, leaves := begin(s), begin(s)
			go func() {
				<-leaves.Ending()
				leaves.End()
			}()
			d, took := drainNow(t, time.Hour)
			if took != want || len(d.Unfinished()) > 0 {
				t.Errorf("Grace %v: took %v, unfinished %q", grace, took, d.Unfinished())
			}
			d.Resume()
			if d, took = drainNow(t, time.Hour); took > 0 {
				t.Errorf("the next drain took %v", took)
			}
			d.Resume()
			stays.End()
		})
	}
}

func TestStreamsAreUnfinished(t *testing.T) {
	testStreams(t, func(t *testing.T) {
		s := &httpserve.Streams{Grace: time.Hour}
		first, second := begin(s), begin(s)
		d, _ := drainNow(t, time.Second)
		if got := fmt.Sprint(d.Unfinished()); got != "[2 streams]" {
			t.Error(got)
		}
		d.Resume()
		first.End()
		d, _ = drainNow(t, -1)
		if got := fmt.Sprint(d.Unfinished()); got != "[1 stream]" {
			t.Error(got)
		}
		d.Resume()
		second.End()
	})
}

// Streams that were not told to end go on when the restart is called off. Those that were told have
// their Grace.
func TestStreamsGoOnWhenRestartIsCalledOff(t *testing.T) {
	testStreams(t, func(t *testing.T) {
		image.Current().Beside.SetServes(true)
		s := &httpserve.Streams{Spread: time.Minute}
		var all []*httpserve.Stream
		for range 6 {
			all = append(all, begin(s))
		}
		ctx, callOff := context.WithCancelCause(t.Context())
		calledOff := errors.New("called off")
		time.AfterFunc(25*time.Second, func() { callOff(calledOff) })
		if _, err := image.Current().Drainers.Begin(ctx, time.Hour, nil); err != calledOff {
			t.Error(err)
		}
		for i, st := range all {
			if got, want := isEnding(st), i < 3; got != want {
				t.Errorf("stream %d: ending %t", i, got)
			}
		}
		time.Sleep(time.Hour)
		if isEnding(all[3]) {
			t.Error("a stream ends later")
		}
		image.Current().Beside.SetServes(false)
		beginAgain := begin(s)
		go func() {
			for _, st := range append(all, beginAgain) {
				<-st.Ending()
				st.End()
			}
		}()
		d, took := drainNow(t, time.Hour)
		if took > 0 {
			t.Errorf("the next drain took %v", took)
		}
		d.Resume()
	})
}

// Streams of one request are two streams, and End ends one of them once.
func TestBeginTwiceAndEndTwice(t *testing.T) {
	testStreams(t, func(t *testing.T) {
		s := new(httpserve.Streams)
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		first, second := s.Begin(w, r), s.Begin(w, r)
		first.End()
		first.End()
		d, _ := drainNow(t, time.Millisecond)
		if got := fmt.Sprint(d.Unfinished()); got != "[1 stream]" || !isEnding(second) || isEnding(first) {
			t.Error(got, isEnding(second), isEnding(first))
		}
		d.Resume()
		second.End()
		second.End()
		d, took := drainNow(t, time.Hour)
		if took > 0 {
			t.Errorf("took %v", took)
		}
		d.Resume()
	})
}

// A stream that begins first while the program is drained ends, too.
func TestFirstStreamBeginsDuringDrain(t *testing.T) {
	testStreams(t, func(t *testing.T) {
		image.Current().Drainers.Register(&slowDrainer{drain: time.Second})
		s := new(httpserve.Streams)
		ended := make(chan time.Duration, 1)
		time.AfterFunc(500*time.Millisecond, func() {
			start := time.Now()
			st := begin(s)
			defer st.End()
			<-st.Ending()
			ended <- time.Since(start)
		})
		d, took := drainNow(t, time.Hour)
		if late := <-ended; took != time.Second || late > 0 {
			t.Errorf("took %v; the stream ended after %v", took, late)
		}
		d.Resume()
	})
}

// slowDrainer takes a while for each method.
type slowDrainer struct{ quiesce, drain time.Duration }

func (d *slowDrainer) Quiesce()                    { time.Sleep(d.quiesce) }
func (d *slowDrainer) Drain(context.Context) error { time.Sleep(d.drain); return nil }
func (d *slowDrainer) Resume()                     {}

// A Drainer that is slow beside it does not keep a stream from its end.
func TestStreamsEndBesideSlowDrainer(t *testing.T) {
	testStreams(t, func(t *testing.T) {
		image.Current().Drainers.Register(&slowDrainer{quiesce: 10 * time.Second, drain: 10 * time.Second})
		s := new(httpserve.Streams)
		start := time.Now()
		var after time.Duration
		beginMany(s, 1, func(_ int, st *httpserve.Stream) {
			after = time.Since(start)
			st.End()
		})
		d, _ := drainNow(t, time.Hour)
		if after > 2*time.Second {
			t.Errorf("told after %v", after)
		}
		d.Resume()
	})
}

// Streams of a later stage end when the drainers of the earlier ones have been drained.
func TestStreamsEndInTheirTurn(t *testing.T) {
	testStreams(t, func(t *testing.T) {
		first, second := new(httpserve.Streams), &httpserve.Streams{DrainOrder: 1}
		later := begin(second)
		beginMany(first, 1, func(_ int, st *httpserve.Stream) {
			time.Sleep(time.Second / 2)
			if isEnding(later) {
				t.Error("the later stream ends before the first one has ended")
			}
			st.End()
		})
		go func() {
			<-later.Ending()
			later.End()
		}()
		d, took := drainNow(t, time.Minute)
		if took != time.Second/2 || len(d.Unfinished()) > 0 {
			t.Errorf("took %v, unfinished %q", took, d.Unfinished())
		}
		d.Resume()
	})
}
