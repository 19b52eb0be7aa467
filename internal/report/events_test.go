package report

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// An eventRecorder records events. Its hook is called before each of them.
type eventRecorder struct {
	recorder
	Events
}

func (r *eventRecorder) add(name string) {
	r.Add(func(lost int) { r.record("event", name, []any{"lost", lost}) })
}

func TestEventsAreObservedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(eventRecorder)
		r.Lose(3)
		for i := range 3 {
			r.add(fmt.Sprint(i))
		}
		if lines, events := Flush(time.Second); lines != 0 || events != 0 {
			t.Errorf("%d lines and %d events are left", lines, events)
		}
		r.want(t, "event 0 lost 3", "event 1 lost 0", "event 2 lost 0")
		synctest.Wait()
		forget(t)
	})
}

// Lines and events wait together, and are counted apart.
func TestFlushCountsLinesAndEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		block := func(string) { <-release }
		slow, observer := &recorder{hook: block}, &eventRecorder{recorder: recorder{hook: block}}
		To(slow).Info("one")
		observer.add("one")
		observer.add("two")
		start := time.Now()
		lines, events := Flush(10 * time.Millisecond)
		if took := time.Since(start); took != 10*time.Millisecond || lines != 1 || events != 2 {
			t.Errorf("%d lines and %d events are left after %v", lines, events, took)
		}
		close(release)
		Flush(time.Second)
		observer.want(t, "event one lost 0", "event two lost 0")
	})
}

// Events for which there is no room, or for which the observer panics, are counted.
func TestLostEventsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := &eventRecorder{recorder: recorder{hook: func(event string) {
			switch event {
			case "bad":
				panic("no event")
			case "first":
				<-release
			}
		}}}
		r.add("bad")
		Flush(time.Second)
		r.add("first")
		synctest.Wait() // the observer blocks
		for range maxLines + 10 {
			r.add("bad")
		}
		r.Lose(5)
		close(release)
		Flush(time.Second)
		r.add("last")
		Flush(time.Second)
		r.want(t, "event first lost 1", fmt.Sprint("event last lost ", maxLines+10+5))
		synctest.Wait()
		forget(t)
	})
}
