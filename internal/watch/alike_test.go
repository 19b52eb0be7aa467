package watch

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/candidate/candidatetest"
)

// newSharingWatcher returns a watcher without events, on a file system where the page cache of a
// new version may have pages of the running image.
func newSharingWatcher(t *testing.T) *testWatcher {
	t.Helper()
	w := newTestWatcher(t)
	w.Rules.Close()
	w.sys.SharesPages = true
	w.sys.Faults = map[string]error{candidatetest.Running: errors.ErrUnsupported}
	w.Rules = candidate.NewRules(w.sys, app)
	w.PollInterval = time.Second
	return w
}

// TestWatcherReadsStalePages: a read that finds the content of the running image says little where
// files share pages. The next ones find what is there.
func TestWatcherReadsStalePages(t *testing.T) {
	for stale := range alikeLooks {
		synctest.Test(t, func(t *testing.T) {
			w := newSharingWatcher(t)
			next := w.startNext(t.Context())
			wantNone(t, "at the start", next)
			w.deploy(2)
			w.sys.SetStale(stale)
			time.Sleep(2 * time.Second)
			wantVersion(t, 2, next)
		})
	}
}

// TestWatcherBelievesReads: a file that is only touched is left alone after some looks.
func TestWatcherBelievesReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSharingWatcher(t)
		next := w.startNext(t.Context())
		for range 2 {
			w.sys.Touch(app)
			before := w.sys.Openings()
			time.Sleep(time.Minute)
			wantNone(t, "touched", next)
			if n := w.sys.Openings() - before; n != alikeLooks {
				t.Errorf("the file was opened %d times, want %d", n, alikeLooks)
			}
		}
		if lines := w.logged.take(); len(lines) > 0 {
			t.Errorf("logged %q", lines)
		}
	})
}
