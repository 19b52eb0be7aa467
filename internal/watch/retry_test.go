package watch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	cause := errors.New("shutting down")
	never := context.Background
	ended := func() context.Context {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		return ctx
	}
	endingAfter := func(d time.Duration) func() context.Context {
		return func() context.Context {
			ctx, cancel := context.WithCancelCause(context.Background())
			time.AfterFunc(d, func() { cancel(cause) })
			return ctx
		}
	}
	tests := []struct {
		name string
		ctx  func() context.Context
		d    time.Duration
		err  error
		took time.Duration
	}{
		{"no end", never, time.Hour, nil, time.Hour},
		{"a short time", never, 1, nil, 1},
		{"ended before", ended, time.Hour, cause, 0},
		{"ended before, no limit", ended, 0, cause, 0},
		{"ended meanwhile", endingAfter(time.Minute), time.Hour, cause, time.Minute},
		{"ended meanwhile, no limit", endingAfter(240 * time.Hour), 0, cause, 240 * time.Hour},
		{"ended too late", endingAfter(time.Hour), time.Minute, nil, time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := Sleep(test.ctx(), test.d)
				if took := time.Since(start); err != test.err || took != test.took {
					t.Errorf("%v after %v, want %v after %v", err, took, test.err, test.took)
				}
			})
		})
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{First: 3, Last: 20}
	for range 2 {
		for i, want := range []time.Duration{3, 6, 12, 20, 20, 20} {
			if got := b.Next(); got != want {
				t.Errorf("delay %d is %d, want %d", i, got, want)
			}
		}
		b.Reset()
	}
	b = NewRetry()
	var total time.Duration
	for range 10 {
		total += b.Next()
	}
	if total < time.Second || total > 3*time.Second {
		t.Errorf("the first ten tries take %v", total)
	}
	for range 100 {
		if d := b.Next(); d != time.Second {
			t.Errorf("then every %v", d)
		}
	}
}
