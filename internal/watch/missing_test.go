package watch

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestMissing: a missing executable is looked at until it is worth a line. After that, events
// tell when it is there.
func TestMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		next := w.startNext(t.Context())
		w.sys.Remove(app)
		w.happen()
		time.Sleep(time.Hour)
		wantNone(t, "missing", next)
		want := []string{`WARN new version not ready yet reason="` + app + `: found no file that can be read (no such file or directory), expected a file that this process can read"`}
		if got := w.logged.take(); !slices.Equal(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
		if d := w.events.lastWait(); d != 0 {
			t.Errorf("waits for %v", d)
		}
		w.deploy(2)
		w.happen()
		wantVersion(t, 2, next)
		w.Accepted()

		// Without that, looks go on.
		w.PollInterval = time.Second
		next = w.startNext(t.Context())
		w.sys.Remove(app)
		time.Sleep(time.Minute)
		wantNone(t, "missing", next)
		w.deploy(3)
		time.Sleep(time.Second)
		wantVersion(t, 3, next)
	})
}
