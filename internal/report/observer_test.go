package report

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// An eventRecorder records events. Its hook is called before each of them.
type eventRecorder struct{ recorder }

func (r *eventRecorder) ObserveEvent(event any) { r.record("event", fmt.Sprint(event), nil) }
func (r *eventRecorder) EventsLost(n int)       { r.record("lost", fmt.Sprint(n), nil) }

func TestEventsAreObservedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(eventRecorder)
		for i := range 3 {
			Observe(r, i)
		}
		if lines, events := Flush(time.Second); lines != 0 || events != 0 {
			t.Errorf("%d lines and %d events are left", lines, events)
		}
		r.want(t, "event 0", "event 1", "event 2")
		synctest.Wait()
		forget(t)
	})
}

// Lines and events wait together, and are counted apart.
func TestFlushCountsLinesAndEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		block := func(string) { <-release }
		slow, observer := &recorder{hook: block}, &eventRecorder{recorder{hook: block}}
		To(slow).Info("one")
		for i := range 2 {
			Observe(observer, i)
		}
		start := time.Now()
		lines, events := Flush(10 * time.Millisecond)
		if took := time.Since(start); took != 10*time.Millisecond || lines != 1 || events != 2 {
			t.Errorf("%d lines and %d events are left after %v", lines, events, took)
		}
		close(release)
		Flush(time.Second)
		observer.want(t, "event 0", "event 1")
	})
}

func TestObserverThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &eventRecorder{recorder{hook: func(event string) {
			if event == "bad" {
				panic("no event")
			}
		}}}
		Observe(r, "bad")
		Flush(time.Second)
		Observe(r, "good")
		Flush(time.Second)
		r.want(t, "lost 1", "event good")
		synctest.Wait()
		forget(t)
	})
}
