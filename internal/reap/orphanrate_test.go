package reap

import (
	"context"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// orphanBed is a process whose orphans are reaped on a simulated system.
type orphanBed struct {
	*fakeTable
	last int // the newest PID
	most int // how many have waited at a time
}

// reapOrphans runs f beside the orphan reaper, in a simulated time.
func reapOrphans(t *testing.T, f func(t *testing.T, b *orphanBed)) {
	synctest.Test(t, func(t *testing.T) {
		b := &orphanBed{fakeTable: newFakeTable(), last: 1000}
		s := TakeSnapshot(b.fakeTable, false)
		b.later()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.ReapOrphans(ctx, nil) }()
		synctest.Wait()
		f(t, b)
		cancel()
		<-done
	})
}

// orphans has n orphans of our session come and exit.
func (b *orphanBed) orphans(n int) { b.orphansOf(ownSession, n) }

// orphansOf has n orphans of a session come and exit.
func (b *orphanBed) orphansOf(session, n int) {
	for range n {
		b.last++
		b.add(b.last, self, b.fakeTable.now).session = session
		b.exit(b.last, 0)
	}
	b.most = max(b.most, b.waiting())
}

// atRate has orphans come for a while, each ten milliseconds some.
func (b *orphanBed) atRate(perSecond int, during time.Duration) {
	began, made := time.Now(), 0
	for time.Since(began) < during {
		time.Sleep(10 * time.Millisecond)
		n := int(time.Since(began).Seconds()*float64(perSecond)) - made
		b.orphans(n)
		made += n
	}
}

func (b *orphanBed) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.processes) - 1
}

// callsIn returns how many calls were made in the time, which it lets pass.
func (b *orphanBed) callsIn(d time.Duration) int {
	before := b.callsSoFar()
	time.Sleep(d)
	synctest.Wait()
	return b.callsSoFar() - before
}

func (b *orphanBed) callsSoFar() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

// However fast orphans come, and whatever else a program has open, there are never
// more than a thousand that wait.
func TestOrphansAtARate(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		perSecond, descriptors int
		listing, during        time.Duration
	}{
		{"quiet", 5000, 64, 0, time.Second},
		{"busy", 350, 64, 150 * time.Millisecond, 5 * time.Second},
		{"10,000 descriptors", 5000, 10_000, 0, time.Second},
		{"100,000 descriptors", 350, 100_000, 0, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reapOrphans(t, func(t *testing.T, b *orphanBed) {
				b.descriptors, b.listing = tt.descriptors, tt.listing
				b.atRate(tt.perSecond, tt.during)
				if b.most > 1000 {
					t.Error("waiting at a time:", b.most)
				}
				b.callsIn(2 * time.Second)
				if n := b.waiting(); n != 0 {
					t.Error("left:", n)
				}
				t.Log(b.most, "at a time,", b.callsSoFar(), "calls")
			})
		})
	}
}

// However few descriptors are free, orphans don't pile up.
func TestOrphansWithFewDescriptors(t *testing.T) {
	for _, free := range []int{200, 4} {
		t.Run(strconv.Itoa(free), func(t *testing.T) {
			reapOrphans(t, func(t *testing.T, b *orphanBed) {
				b.descriptors, b.used = openFilesLimit, openFilesLimit-free
				b.atRate(350, time.Second)
				if b.most > 200 {
					t.Error("waiting at a time:", b.most)
				}
				b.callsIn(time.Second)
				if n := b.waiting(); n != 0 {
					t.Error("left:", n)
				}
			})
		})
	}
}

// What it takes to reap orphans that all exit together: some calls for each, and one
// reading of the list and of the descriptors for each hundred or so.
func TestCallsForManyOrphans(t *testing.T) {
	const many, descriptors = 5000, 1000
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		b.descriptors = descriptors
		b.orphans(many)
		calls := b.callsIn(5 * time.Second)
		if n := b.waiting(); n != 0 {
			t.Error("left:", n)
		}
		const perOrphan, batches = 12, many/100 + 2
		if limit := perOrphan*many + batches*descriptors; calls > limit {
			t.Error(calls, "calls, limit", limit)
		}
		if b.entries > batches*many {
			t.Error(b.entries, "entries read, limit", batches*many)
		}
	})
}

// Orphans that were born into another session cost some calls each, and no reading of a list.
func TestCallsForForeignOrphans(t *testing.T) {
	const many, perOrphan, elsewhere = 5000, 10, 99
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		b.callsIn(time.Second)
		before := b.entries
		b.orphansOf(elsewhere, many)
		if calls := b.callsIn(5 * time.Second); calls > perOrphan*many {
			t.Error(calls, "calls, limit", perOrphan*many)
		}
		if n := b.waiting(); n != 0 {
			t.Error("left:", n)
		}
		if entries := b.entries - before; entries > many { // once, because there are so many
			t.Error(entries, "entries read, limit", many)
		}
		before = b.entries
		b.orphansOf(elsewhere, 100)
		b.callsIn(time.Second)
		if n := b.waiting(); n != 0 || b.entries != before {
			t.Error("left:", n, "entries read:", b.entries-before)
		}
	})
}

// A zombie that another part of the program will wait for is looked at less and less,
// and without one nothing is.
func TestOrphansIdle(t *testing.T) {
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		b.add(500, self, b.fakeTable.now)
		p, _ := b.Open(500)
		defer p.Close()
		b.exit(500, 0)
		const looks = 60 + 10
		if calls, limit := b.callsIn(time.Hour), looks*(64+10); calls > limit {
			t.Error(calls, "calls in an hour, limit", limit)
		}
		b.steal(500)
		b.callsIn(time.Minute)
		if calls := b.callsIn(time.Hour); calls > 0 {
			t.Error(calls, "calls without a child")
		}
	})
}

func TestRoundPause(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		used, since time.Duration
		came        int
		want        time.Duration
	}{
		{0, 20 * ms, 0, firstLook},
		{5 * ms, time.Second, 1, 100 * ms},
		{5 * ms, time.Second, 5000, 40 * ms},
		{5 * ms, ms, 5000, firstLook},
		{time.Second, 1 << 62, 1, longestRoundPause},
		{time.Second, time.Second, 0, longestRoundPause},
	} {
		if got := roundPause(tt.used, tt.since, tt.came); got != tt.want {
			t.Errorf("roundPause(%v, %v, %d) = %v, want %v", tt.used, tt.since, tt.came, got, tt.want)
		}
	}
}

// Two runs, as of two packages that don't know of each other, share the orphans.
func TestTwoRunsOfOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTable()
		s := TakeSnapshot(f, false)
		f.later()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		for range 2 {
			go func() { done <- s.ReapOrphans(ctx, nil) }()
		}
		synctest.Wait()
		b := &orphanBed{fakeTable: f, last: 1000}
		var closes atomic.Int64
		f.onClose = func() { // both hold what they have met while both look, if they can
			mine := closes.Add(1)
			for i := 0; i < 1000 && closes.Load() == mine; i++ {
				runtime.Gosched()
			}
		}
		b.orphans(20)
		time.Sleep(500 * time.Millisecond)
		if n := b.waiting(); n > 0 {
			t.Error("left:", n)
		}
		cancel()
		<-done
		<-done
	})
}
