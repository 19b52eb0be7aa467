package report

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestQueueCallsInOrder(t *testing.T) {
	q := NewQueue(nil)
	var got []int
	for i := range 100 {
		q.Add(func() { got = append(got, i) })
	}
	q.Wait()
	want := make([]int, 100)
	for i := range want {
		want[i] = i
	}
	if !slices.Equal(got, want) {
		t.Errorf("called in the order %v", got)
	}
}

// A receiver that does not return costs a bounded queue, and the log says so.
func TestQueueIsBounded(t *testing.T) {
	var called, warned atomic.Int64
	hold := make(chan struct{})
	q := NewQueue(testprocess.OnWarning(func() { warned.Add(1) }))
	const n = 3 * MaxQueued
	for range n {
		q.Add(func() { <-hold; called.Add(1) })
	}
	close(hold)
	q.Wait()
	Flush(time.Minute)
	// Twice the bound: the functions that were queued when the first one was called are
	// out of the queue.
	if called := called.Load(); called < MaxQueued || called > 2*MaxQueued {
		t.Errorf("called %d functions, of %d", called, n)
	}
	if warned.Load() == 0 {
		t.Error("no word of the functions that were dropped")
	}
}
