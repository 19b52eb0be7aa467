package candidate

import (
	"sync"
	"sync/atomic"
	"time"
)

// Leases keep writers away from files, where the kernel grants that.
type Leases interface {
	// HoldLease keeps writers away from the file: a process that opens it for writing
	// waits until EndLease, or for a time that the kernel sets. It reports whether the
	// kernel grants that.
	HoldLease(File) bool

	// EndLease lets writers have the file.
	EndLease(File)

	// LeaseIsBreaking reports whether a writer waits for the end of the lease.
	LeaseIsBreaking(File) bool

	// OpenForWriting reports whether the file is known to be open for writing.
	OpenForWriting(File) bool
}

// LeaseMu is locked from the last look at a candidate to its exec: a lease that gave way
// in between would let a writer finish before the exec, which nothing would notice. As
// long as it holds, the writer waits with the file open, and the exec fails with ETXTBSY.
var LeaseMu sync.Mutex

// LeaseInterval is how long a writer waits at most until a lease gives way.
const LeaseInterval = 50 * time.Millisecond

// A Lease keeps writers away from a candidate, from its verification to its exec, where the
// kernel grants that. A writer that comes has its way: the lease ends, and the candidate is
// judged again when it has been written.
type Lease struct {
	candidate   *Candidate
	system      Leases
	granted     bool
	gaveWay     atomic.Bool
	stop, ended chan struct{} // of watch
}

// NewLease returns a lease on c. The caller ends it.
func NewLease(system Leases, c *Candidate) *Lease {
	l := &Lease{candidate: c, system: system, granted: system.HoldLease(c.File)}
	if !l.granted {
		// A writer that is there already may be why.
		l.gaveWay.Store(system.OpenForWriting(c.File))
	} else {
		l.stop, l.ended = make(chan struct{}), make(chan struct{})
		go l.watch()
	}
	return l
}

// Granted reports whether the kernel has granted the lease.
func (l *Lease) Granted() bool { return l.granted }

// watch waits for a writer, or for the end of the lease.
func (l *Lease) watch() {
	defer close(l.ended)
	for !l.system.LeaseIsBreaking(l.candidate.File) {
		select {
		case <-l.stop:
			// Closing the file is not enough if Verify has passed a duplicate on.
			l.system.EndLease(l.candidate.File)
			return
		case <-time.After(LeaseInterval):
		}
	}
	LeaseMu.Lock()
	defer LeaseMu.Unlock()
	l.gaveWay.Store(true)
	l.system.EndLease(l.candidate.File)
}

// End ends the lease.
func (l *Lease) End() {
	if l.granted {
		close(l.stop)
		<-l.ended
	}
}

// GaveWay reports whether a writer has come.
func (l *Lease) GaveWay() bool {
	return l.gaveWay.Load() || l.granted && l.system.LeaseIsBreaking(l.candidate.File)
}

// Unchanged returns nil if the candidate is still at its path, and no writer has come.
func (l *Lease) Unchanged(r *Rules) *Rejection {
	if l.GaveWay() {
		return AboutToBeWritten(l.candidate.Path)
	}
	return r.Unchanged(l.candidate)
}
