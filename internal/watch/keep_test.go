package watch

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errNoGood = errors.New("no good")

// A candidate that is kept is the version to differ from, and open for its owner.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.deploy(2)
		c := wantVersion(t, 2, w.startNext(t.Context()))
		if w.Current() != c {
			t.Error("it is not the current one")
		}
		if kept := w.Keep(); kept != c || w.Current() != nil || w.Base().ID != c.ID {
			t.Errorf("kept %+v, current %+v, base %+v", kept, w.Current(), w.Base().ID)
		}
		next := w.startNext(t.Context())
		w.deploy(2)
		w.happen()
		wantNone(t, "the same content", next)
		if _, err := c.File.ReadAt(make([]byte, 1), 0); err != nil {
			t.Errorf("its file: %v", err)
		}
		w.deploy(1)
		w.happen()
		wantVersion(t, 1, next)
		w.Accepted()
		c.Close()
	})
}

// A candidate that was withdrawn gets an answer as if it had not been kept.
func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.deploy(2)
		wantVersion(t, 2, w.startNext(t.Context()))
		c := w.Keep()
		if !w.Withdraw(c) || w.Current() != c || w.Base() != &w.Rules.Running {
			t.Errorf("current %+v, base %+v", w.Current(), w.Base().ID)
		}
		w.Postpone(errNoGood, time.Minute)
		next := w.startNext(t.Context())
		wantNone(t, "postponed", next)
		time.Sleep(time.Minute)
		wantVersion(t, 2, next)
		if c := w.Keep(); !w.Withdraw(c) {
			t.Fatal("another file was judged")
		}
		w.LookAgain(errNoGood)
		wantVersion(t, 2, w.startNext(t.Context()))
		if c := w.Keep(); !w.Withdraw(c) {
			t.Fatal("another file was judged")
		}
		w.Rejected(errNoGood)
		next = w.startNext(t.Context())
		w.happen()
		time.Sleep(time.Hour)
		wantNone(t, "rejected", next)
		w.sys.Touch(app)
		w.happen()
		wantVersion(t, 2, next)
	})
}

// A version that came while the other one was kept is found at once, whatever the answer to the
// other one: its event has passed.
func TestNewerVersionAfterWithdraw(t *testing.T) {
	for name, answer := range map[string]func(w *testWatcher){
		"rejected":   func(w *testWatcher) { w.Rejected(errNoGood) },
		"look again": func(w *testWatcher) { w.LookAgain(errNoGood) },
		"postponed":  func(w *testWatcher) { w.Postpone(errNoGood, time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTestWatcher(t)
				w.deploy(2)
				wantVersion(t, 2, w.startNext(t.Context()))
				c := w.Keep()
				next := w.startNext(t.Context())
				wantNone(t, "kept", next)
				w.deploy(3)
				w.happen()
				wantVersion(t, 3, next)
				w.PutBack()
				if w.Current() != nil || !w.Withdraw(c) {
					t.Fatal("another file was judged")
				}
				answer(w)
				wantVersion(t, 3, w.startNext(t.Context()))
			})
		})
	}
}

// A version that is not ready when the other one is withdrawn is looked at again.
func TestUnreadyVersionAfterWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.deploy(2)
		wantVersion(t, 2, w.startNext(t.Context()))
		c := w.Keep()
		w.deploy(3)
		wantVersion(t, 3, w.startNext(t.Context()))
		w.LookAgain(errNoGood)
		if !w.Withdraw(c) {
			t.Fatal("another file was judged")
		}
		w.Rejected(errNoGood)
		wantVersion(t, 3, w.startNext(t.Context()))
	})
}

// If another file was judged since, nothing is to be said about the one that was kept.
func TestWithdrawAfterOtherAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWatcher(t)
		w.deploy(2)
		wantVersion(t, 2, w.startNext(t.Context()))
		c := w.Keep()
		w.deploy(3)
		wantVersion(t, 3, w.startNext(t.Context()))
		w.Rejected(errNoGood)
		if w.Withdraw(c) || w.Current() != nil || w.Base() != &w.Rules.Running {
			t.Errorf("current %+v, base %+v", w.Current(), w.Base().ID)
		}
		next := w.startNext(t.Context())
		wantNone(t, "version 3 was rejected", next)
		w.deploy(2) // again
		w.happen()
		wantVersion(t, 2, next)
	})
}
