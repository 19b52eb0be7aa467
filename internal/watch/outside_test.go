package watch

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// newPrivilegedWatcher returns a watcher of a process with rights, with a function that
// gives the directory of the path to a user.
func newPrivilegedWatcher(t *testing.T) (w *testWatcher, chown func(uid uint32)) {
	w = newTestWatcher(t)
	w.sys.Self.Privileged = true
	return w, func(uid uint32) {
		w.sys.Edit("/srv", func(e *candidate.Entry) { e.UID = uid })
	}
}

// TestWatcherOutside: a file that is rejected for its directory is looked at again, though
// neither an event nor a change of the file tells that the directory was mended. The
// reason is logged once.
func TestWatcherOutside(t *testing.T) {
	for _, poll := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w, chown := newPrivilegedWatcher(t)
			w.PollInterval = poll
			next := w.startNext(t.Context())
			chown(1000)
			w.deploy(2)
			start := time.Now()
			w.happen()
			time.Sleep(time.Hour)
			wantNone(t, "directory of a user", next)
			if lines := w.logged.take(); len(lines) != 1 || !strings.HasPrefix(lines[0], "WARN new version rejected reason=") {
				t.Errorf("logged %q", lines)
			}
			if _, waits := w.events.seen(); poll == 0 && slices.Max(waits) != recheckInterval {
				t.Errorf("waited up to %v", slices.Max(waits))
			}
			chown(0)
			time.Sleep(recheckInterval)
			if c := wantVersion(t, 2, next); c.Seen.Sub(start) > time.Hour+recheckInterval {
				t.Errorf("seen after %v", c.Seen.Sub(start))
			}
		})
	}
}

// TestWatcherOutsideEvents: an event is a reason to look at once, and a file that has been
// away is another look, too.
func TestWatcherOutsideEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, chown := newPrivilegedWatcher(t)
		next := w.startNext(t.Context())
		chown(1000)
		w.deploy(2)
		w.happen()
		wantNone(t, "directory of a user", next)
		w.happen()
		wantNone(t, "still", next)
		chown(0)
		w.happen()
		wantVersion(t, 2, next)
		w.Accepted()

		// A rejection for the file itself costs no further look.
		next = w.startNext(t.Context())
		chown(1000)
		w.deploy(3)
		w.happen()
		wantNone(t, "directory of a user", next)
		chown(0)
		w.sys.Change(app, func(id *candidate.ID, _ []byte) []byte {
			id.UID = 1000
			return nil
		})
		w.happen()
		wantNone(t, "file of a user", next)
		if d := w.events.lastWait(); d != 0 {
			t.Errorf("waits for %v", d)
		}
		w.sys.Change(app, func(id *candidate.ID, _ []byte) []byte {
			id.UID = 0
			return nil
		})
		w.happen()
		wantVersion(t, 3, next)
		w.Accepted()

		// Missing for a while, and there again, as by renaming its directory.
		next = w.startNext(t.Context())
		chown(1000)
		w.deploy(4)
		w.happen()
		wantNone(t, "directory of a user", next)
		w.sys.Rename(app, "/away")
		w.happen()
		time.Sleep(recheckInterval)
		wantNone(t, "away", next)
		if d := w.events.lastWait(); d != 0 {
			t.Errorf("away: waits for %v", d)
		}
		w.sys.Rename("/away", app)
		chown(0)
		w.happen()
		wantVersion(t, 4, next)
	})
}

// TestWatcherOutsideAndBack: a file that is rejected for its directory is forgotten when the
// version that runs is back at the path. Nothing is left to look at then.
func TestWatcherOutsideAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, chown := newPrivilegedWatcher(t)
		next := w.startNext(t.Context())
		chown(1000)
		w.sys.Rename(app, "/away")
		w.deploy(2)
		w.happen()
		wantNone(t, "directory of a user", next)
		w.sys.Rename("/away", app)
		w.happen()
		time.Sleep(time.Minute)
		wantNone(t, "back", next)
		if _, waits := w.events.seen(); waits[len(waits)-1] != 0 || len(waits) > 10 {
			t.Errorf("%d waits, the last one for %v", len(waits), waits[len(waits)-1])
		}
	})
}
