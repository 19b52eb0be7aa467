package systemd

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/autorestart-go/autorestart/internal/drain"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sdnotify"
)

// maxWatchdog is longer than any watchdog that a unit has.
const maxWatchdog = 365 * 24 * time.Hour

// watchdogInterval returns half of the WatchdogSec of the unit, or 0 if no watchdog is asked of
// this process, see sd_watchdog_enabled(3).
func watchdogInterval() (time.Duration, error) {
	text, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	if text == "" {
		return 0, nil
	}
	usec, err := strconv.ParseUint(text, 10, 64)
	if err != nil || usec == 0 {
		return 0, errors.New("found WATCHDOG_USEC=" + sdnotify.Line(strconv.Quote(text)) + ", expected microseconds")
	}
	if pid != "" {
		n, err := strconv.Atoi(pid)
		switch {
		case err != nil:
			return 0, errors.New("found WATCHDOG_PID=" + strconv.Quote(pid) + ", expected a process ID")
		// With PrivatePIDs, the number is that outside of the PID namespace, and the main process
		// of the unit is process 1 in it.
		case n != os.Getpid() && os.Getpid() != 1:
			return 0, nil
		}
	}
	limit := time.Duration(min(usec, uint64(maxWatchdog.Microseconds()))) * time.Microsecond
	return max(limit/2, time.Millisecond), nil
}

// A watchdog sends WATCHDOG=1 as long as the program works.
type watchdog struct {
	notifier *notifier
	check    func(context.Context) error // nil if nothing is asked
	interval time.Duration
	logger   report.Logger
	end      chan struct{} // ends the watchdog of a test; nil otherwise

	hook    drain.Hook
	running chan error // the result of a call of check that has not returned in time; nil if there is none
	failure string     // of the last call; "" if it has returned nil
}

// start sends the first message and begins to send the others. The exec may have taken a part of
// the time.
func (w *watchdog) start() {
	w.notifier.alive()
	go func() {
		for next := time.NewTimer(w.interval); ; {
			select {
			case at := <-next.C:
				pause := w.interval
				if !w.tick() {
					pause /= retries
				}
				next.Reset(time.Until(at.Add(pause)))
			case <-w.end:
				next.Stop()
				return
			}
		}
	}()
}

// retries is how often a check that has failed is made until the next message would be due: one failure does
// not end the program.
const retries = 4

// tick sends a message, unless the check fails. A check that began before a drain means nothing.
func (w *watchdog) tick() (sent bool) {
	if w.check != nil && !w.notifier.excused() {
		drains := w.notifier.image.Drainers.Begun()
		err := w.ask()
		if err != nil && w.notifier.image.Drainers.Begun() == drains && !w.notifier.excused() {
			w.log(err.Error())
			return false
		}
		if err == nil {
			w.log("")
		}
	}
	w.notifier.alive()
	return true
}

// ask calls the check. The next call waits for one that does not return.
func (w *watchdog) ask() error {
	limit := w.interval / 2
	if w.running != nil {
		select {
		case <-w.running:
		default:
			return errStuck(limit)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		result <- w.hook.Call(context.Background(), func() error { return w.check(ctx) })
	}()
	w.running = result
	select {
	case err := <-result:
		w.running = nil
		if panicked, ok := err.(*drain.PanicError); ok {
			return errors.New("Check panicked: " + panicked.Text)
		}
		if err != nil {
			return errors.New("Check failed: " + report.PanicText(err))
		}
		return nil
	case <-ctx.Done():
		return errStuck(limit)
	}
}

func errStuck(limit time.Duration) error {
	return errors.New("Check has not returned within " + limit.String())
}

// log logs a failure once, and that it is over.
func (w *watchdog) log(failure string) {
	before := w.failure
	w.failure = failure
	switch {
	case failure == before:
	case failure != "":
		w.logger.Warn("the watchdog is not notified: systemd ends this program unless its check succeeds soon", "reason", failure)
	default:
		w.logger.Info("the watchdog is notified again", "reason", before)
	}
}

// alive sends WATCHDOG=1, except right before an exec: it would undo the extension for the next
// version.
func (n *notifier) alive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.executing {
		n.queue.Send(sdnotify.Message{Watchdog: true})
	}
}

// excused reports whether the program need not work: it starts, or is drained.
func (n *notifier) excused() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.starting != nil || n.executing || n.image.Drainers.IsDraining()
}
