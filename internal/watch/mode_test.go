package watch

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestModeString(t *testing.T) {
	reason := errors.New("too many open files")
	for _, test := range []struct {
		mode Mode
		want string
	}{
		{Mode{}, "not watching"},
		{Mode{Events: true}, "events"},
		{Mode{Poll: time.Second}, "polling every 1s"},
		{Mode{Events: true, Poll: 500 * time.Millisecond}, "events and polling every 500ms"},
		{Mode{Poll: time.Second, Reason: reason}, "polling every 1s: too many open files"},
		{Mode{Events: true, Poll: time.Second, Reason: reason}, "events and polling every 1s: too many open files"},
	} {
		if got := test.mode.String(); got != test.want {
			t.Errorf("%#v: got %q, want %q", test.mode, got, test.want)
		}
	}
}

func TestModeBox(t *testing.T) {
	var box modeBox
	var log capturedLog
	if got := box.get(); got != (Mode{}) {
		t.Errorf("begins as %v", got)
	}
	// Errors that say the same are the same reason.
	full, fullAgain, other := errors.New("full"), errors.New("full"), errors.New("other")
	for i, step := range []struct {
		mode Mode
		want []string
	}{
		{Mode{Events: true}, nil},
		{Mode{Events: true, Poll: time.Minute}, nil},
		{Mode{Poll: time.Second, Reason: full},
			[]string{`WARN watching without relying on events path=/app mode="polling every 1s: full"`}},
		{Mode{Poll: time.Second, Reason: fullAgain}, nil},
		{Mode{Poll: time.Second, Reason: other},
			[]string{`WARN watching without relying on events path=/app mode="polling every 1s: other"`}},
		{Mode{Events: true}, []string{`INFO watching by events again path=/app mode=events`}},
		{Mode{Events: true}, nil},
	} {
		box.set(step.mode, &log, "/app")
		if got := log.take(); !slices.Equal(got, step.want) {
			t.Errorf("step %d: got %q, want %q", i, got, step.want)
		}
		if got := box.get(); got != step.mode {
			t.Errorf("step %d: is %v, want %v", i, got, step.mode)
		}
	}
}
