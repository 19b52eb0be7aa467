package autorestart

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	never := func() <-chan struct{} { return nil }
	closed := func() <-chan struct{} {
		c := make(chan struct{})
		close(c)
		return c
	}
	closedAfter := func(d time.Duration) func() <-chan struct{} {
		return func() <-chan struct{} {
			c := make(chan struct{})
			time.AfterFunc(d, func() { close(c) })
			return c
		}
	}
	tests := []struct {
		name string
		done func() <-chan struct{}
		d    time.Duration
		err  error
		took time.Duration
	}{
		{"no end", never, time.Hour, nil, time.Hour},
		{"a short time", never, 1, nil, 1},
		{"ended before", closed, time.Hour, errDone, 0},
		{"ended before, no limit", closed, 0, errDone, 0},
		{"ended meanwhile", closedAfter(time.Minute), time.Hour, errDone, time.Minute},
		{"ended meanwhile, no limit", closedAfter(240 * time.Hour), 0, errDone, 240 * time.Hour},
		{"ended too late", closedAfter(time.Hour), time.Minute, nil, time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := sleep(test.done(), test.d)
				if took := time.Since(start); err != test.err || took != test.took {
					t.Errorf("%v after %v, want %v after %v", err, took, test.err, test.took)
				}
			})
		})
	}
}

func TestCauseOf(t *testing.T) {
	cause := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	other := errors.New("something else")
	for _, test := range []struct{ err, want error }{
		{nil, nil},
		{other, other},
		{errDone, cause},
	} {
		if got := causeOf(ctx, test.err); got != test.want {
			t.Errorf("%v: got %v, want %v", test.err, got, test.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{first: 3, last: 20}
	for range 2 {
		for i, want := range []time.Duration{3, 6, 12, 20, 20, 20} {
			if got := b.next(); got != want {
				t.Errorf("delay %d is %d, want %d", i, got, want)
			}
		}
		b.reset()
	}
	b = newRetry()
	var total time.Duration
	for range 10 {
		total += b.next()
	}
	if total < time.Second || total > 3*time.Second {
		t.Errorf("the first ten tries take %v", total)
	}
	for range 100 {
		if d := b.next(); d != time.Second {
			t.Errorf("then every %v", d)
		}
	}
}
