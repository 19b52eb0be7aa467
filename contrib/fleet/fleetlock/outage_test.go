package fleetlock_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/fleetlock"
)

// The version waits for a server out of reach. The log says since when: at once, and then less and less often.
func TestServerOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.become(networkState{down: true})
		since := time.Now().Format(time.RFC3339)
		time.AfterFunc(24*time.Hour, func() { b.become(networkState{}) })
		g := b.gate("a")
		g.RetryInterval = 2 * time.Minute
		b.acquire(g, 24*time.Hour+2*time.Minute)
		const message = "FleetLock server can't be reached; this version serves on url=http://fleetlock.test group=web since="
		down := b.log.with(message + since + " reason=dial tcp: connection refused")
		if len(down) < 20 || len(down) > 35 || len(down) != len(b.log.with(message)) {
			t.Errorf("%d lines in a day, %d of one time:\n%v", len(b.log.with(message)), len(down), &b.log)
		}
		if len(b.log.with("FleetLock server answers again url=http://fleetlock.test group=web since="+since)) != 1 {
			t.Errorf("no line says that it is over:\n%v", &b.log)
		}
	})
}

// Answers that are not of a FleetLock server count as none.
func TestAnswersOfProxies(t *testing.T) {
	for _, status := range []int{204, 301, 401, 403, 404, 500, 502, 503} {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, 1)
			b.meddleBy(func(w http.ResponseWriter) bool { http.Error(w, "<html>", status); return true })
			g := b.gate("a")
			g.Deadline = time.Minute
			_, err := b.try(g, time.Hour)
			if err == nil || !strings.Contains(err.Error(), "found a FleetLock server out of reach for 1m0s (status ") {
				t.Errorf("status %d: %v", status, err)
			}
			time.Sleep(time.Hour) // for the attempts to give back
			b.meddleBy(nil)
			time.Sleep(time.Minute)
			b.wantHolding(group)
		})
	}
}

func TestDeadline(t *testing.T) {
	t.Run("refuse", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, 1)
			b.become(networkState{down: true})
			g := b.gate("a")
			g.Deadline = 10 * time.Minute
			begun := time.Now()
			_, err := b.try(g, time.Hour)
			rejected, ok := errors.AsType[*autorestart.RejectedError](err)
			const want = "autorestart: /usr/bin/web: found a FleetLock server out of reach for 10m0s (dial tcp: connection refused), " +
				"expected a slot of group web"
			if took := time.Since(begun); !ok || !rejected.Retryable || err.Error() != want || took != 10*time.Minute {
				t.Errorf("%v after %v\nwant %s", err, took, want)
			}
		})
	})
	t.Run("go", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, 1)
			b.acquire(b.gate("holder"), time.Second)
			b.become(networkState{down: true})
			g := b.gate("a")
			g.Deadline, g.OnDeadline = 10*time.Minute, fleetlock.Go
			begun := time.Now()
			state := b.acquire(g, time.Hour)
			if took := time.Since(begun); took != 10*time.Minute {
				t.Errorf("leave after %v", took)
			}
			if len(b.log.with("FleetLock server was out of reach until the deadline; restarting without a slot url=")) != 1 {
				t.Errorf("the log is\n%v", &b.log)
			}
			b.become(networkState{})
			b.release(b.gate("a"), autorestart.GateRolledBack, state) // there is no slot to keep
			if kept := b.log.with("slot kept"); len(kept) != 0 {
				t.Errorf("the log has %q", kept)
			}
			b.wantHolding(group, "holder")
		})
	})
	// A group that N failures have stopped does not go on because of a Deadline.
	t.Run("slots that are locked do not count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, 1)
			b.acquire(b.gate("holder"), time.Second)
			g := b.gate("a")
			g.Deadline, g.OnDeadline = time.Minute, fleetlock.Go
			for minutes := range time.Duration(100) { // out of reach for half of the time
				time.AfterFunc(minutes*time.Minute, func() { b.become(networkState{down: true}) })
				time.AfterFunc(minutes*time.Minute+25*time.Second, func() { b.become(networkState{}) })
			}
			b.wantWaits(g, 100*time.Minute)
		})
	})
}

// A request has 10 seconds, also if the server begins to answer.
func TestSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.become(networkState{delay: time.Minute})
		g := b.gate("a")
		g.Deadline = 5 * time.Second
		begun := time.Now()
		_, err := b.try(g, time.Hour)
		// It is out of reach from the end of the first request on.
		if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), "context deadline exceeded") || took > 30*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		time.Sleep(time.Hour)
		b.become(networkState{})
		time.Sleep(time.Hour)
		b.wantHolding(group)
	})
}

// The server's Retry-After is a lower limit.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.acquire(b.gate("holder"), time.Second)
		b.meddleBy(func(w http.ResponseWriter) bool {
			w.Header().Set("Retry-After", "300")
			return false
		})
		b.took()
		b.wantWaits(b.gate("a"), time.Hour)
		if requests := b.took(); len(requests) < 10 || len(requests) > 13 {
			t.Errorf("%d requests in an hour, with a pause of 5 minutes", len(requests))
		}
	})
}

// Members that begin to wait together ask at different times, and not often.
func TestRetryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.acquire(b.gate("holder"), time.Second)
		times := map[time.Time]int{}
		b.meddleBy(func(http.ResponseWriter) bool {
			b.semaphore.mu.Lock()
			defer b.semaphore.mu.Unlock()
			times[time.Now()]++
			return false
		})
		const members = 10
		begun := time.Now()
		waited := make(chan bool)
		for i := range members {
			g := b.gate("member" + string(rune('a'+i)))
			g.RetryInterval = 10 * time.Second
			go func() {
				b.wantWaits(g, 10*time.Minute)
				waited <- true
			}()
		}
		for range members {
			<-waited
		}
		requests := 0
		for at, n := range times {
			requests += n
			if together := at.Equal(begun) || at.Equal(time.Now()); n > 2 && !together {
				t.Errorf("%d requests at the same time, %v", n, at)
			}
		}
		if mean := 10 * time.Minute * members / time.Duration(requests); mean < 4*time.Second || mean > 6*time.Second {
			t.Errorf("the mean pause is %v, want about half of the limit, 10s", mean)
		}
	})
}
