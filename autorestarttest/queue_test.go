package autorestarttest_test

import (
	"context"
	"errors"
)

// queue is a Drainer with jobs.
type queue struct {
	accepts chan bool // one value: whether it does
	jobs    chan bool // closed when the last one is done
}

func newQueue() *queue {
	q := &queue{make(chan bool, 1), make(chan bool)}
	q.accepts <- true
	return q
}

func (q *queue) set(accepts bool) {
	<-q.accepts
	q.accepts <- accepts
}

func (q *queue) accepting() bool {
	accepts := <-q.accepts
	q.accepts <- accepts
	return accepts
}

func (q *queue) Quiesce()           { q.set(false) }
func (q *queue) Resume()            { q.set(true) }
func (q *queue) Unfinished() string { return "1 job" }
func (q *queue) Drain(ctx context.Context) error {
	select {
	case <-q.jobs:
		return nil
	case <-ctx.Done():
		return errors.New("1 job is not done")
	}
}
