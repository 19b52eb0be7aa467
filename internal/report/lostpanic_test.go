package report

import (
	"testing"
	"time"
)

// The last event before an exec is lost, too, if its observer panics.
func TestLastEventThatPanicsIsLost(t *testing.T) {
	var e Events
	e.Add(func(int) { panic("observer") })
	if _, events := Flush(10 * time.Second); events != 1 {
		t.Errorf("%d events are lost, want 1", events)
	}
	e.Add(func(int) {}) // which is told of it, so that nothing is left for other tests
	Flush(10 * time.Second)
}
