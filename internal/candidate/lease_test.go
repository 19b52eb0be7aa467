package candidate_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

// leases are simulated leases on one file.
type leases struct {
	granted, breaking, busy, ended atomic.Bool
}

func (l *leases) HoldLease(candidate.File) bool       { return l.granted.Load() }
func (l *leases) EndLease(candidate.File)             { l.ended.Store(true) }
func (l *leases) LeaseIsBreaking(candidate.File) bool { return l.breaking.Load() }
func (l *leases) OpenForWriting(candidate.File) bool  { return l.busy.Load() }

// A lease gives way to a writer, and that is not forgotten. Where the path leads makes no difference
// to GaveWay.
func TestLeaseGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules, sys := newRules(t)
		sys.Deploy(app, elftest.Program(2), 0o755)
		var system leases
		system.granted.Store(true)
		lease := candidate.NewLease(&system, open(t, sys))
		sys.Remove(app)
		time.Sleep(time.Hour)
		if lease.GaveWay() || system.ended.Load() || !lease.Granted() {
			t.Error("it gave way, and there was no writer")
		}
		system.breaking.Store(true)
		if !lease.GaveWay() {
			t.Error("it does not know that a writer waits")
		}
		time.Sleep(candidate.LeaseInterval)
		synctest.Wait()
		system.breaking.Store(false)
		if !lease.GaveWay() || !system.ended.Load() {
			t.Error("it has not given way")
		}
		if r := lease.Unchanged(rules); r == nil || !r.Retryable {
			t.Errorf("the file: %v", r)
		}
		lease.End()
	})
}

// Where the kernel grants no lease, a writer that was there before may be why.
func TestLeaseIsNotGranted(t *testing.T) {
	for _, busy := range []bool{false, true} {
		_, sys := newRules(t)
		sys.Deploy(app, elftest.Program(2), 0o755)
		var system leases
		system.busy.Store(busy)
		system.breaking.Store(true) // nothing is asked about a lease that is not there
		lease := candidate.NewLease(&system, open(t, sys))
		if lease.Granted() || lease.GaveWay() != busy {
			t.Errorf("busy: %v, granted: %v, gave way: %v", busy, lease.Granted(), lease.GaveWay())
		}
		lease.End()
	}
}
