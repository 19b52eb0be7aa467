package reap

import (
	"context"
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
func (b *orphanBed) orphans(n int) {
	for range n {
		b.last++
		b.add(b.last, self, b.fakeTable.now)
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

// However fast orphans come, and whatever else a program has open, there are never
// more than a thousand that wait.
func TestOrphansAtARate(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		perSecond, descriptors int
		listing                time.Duration
	}{
		{"quiet", 5000, 64, 0},
		{"busy", 350, 64, 150 * time.Millisecond},
		{"10,000 descriptors", 5000, 10_000, 0},
		{"100,000 descriptors", 350, 100_000, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reapOrphans(t, func(t *testing.T, b *orphanBed) {
				b.descriptors, b.listing = tt.descriptors, tt.listing
				b.atRate(tt.perSecond, 5*time.Second)
				if b.most > 1000 {
					t.Error("waiting at a time:", b.most)
				}
				time.Sleep(2 * time.Second)
				if n := b.waiting(); n != 0 {
					t.Error("left:", n)
				}
				t.Log(b.most, "at a time,", b.calls, "calls for", len(b.waited), "orphans")
			})
		})
	}
}

// The calls for orphans that all exit together grow with their number, not with its
// square.
func TestCallsForManyOrphans(t *testing.T) {
	const many, perOrphan = 5000, 40
	reapOrphans(t, func(t *testing.T, b *orphanBed) {
		b.orphans(many)
		time.Sleep(5 * time.Second)
		if n := b.waiting(); n != 0 {
			t.Error("left:", n)
		}
		if b.calls > perOrphan*many {
			t.Error(b.calls, "calls for", many, "orphans")
		}
	})
}
