package watch

import (
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// A Logger has the methods of [log/slog.Logger] that this package uses.
type Logger interface {
	Info(msg string, args ...any)
	Warn(msg string, args ...any)
}

// A RejectionLog says why a candidate is not executed: once for each reason, and not
// at all about what passes by itself while a file is being written. A reason is an
// error or a [*candidate.Rejection].
type RejectionLog struct {
	Logger Logger

	logged string        // the last reason that was logged
	since  time.Time     // when the candidate was first not ready
	delay  time.Duration // from then to the next line
}

// notReadyDelay is how long a candidate may be not ready before that is worth a line.
// It is less than the pauses between the looks add up to before they reach a second.
// It doubles after each line: while a file grows, its reason is another one at each
// look.
const notReadyDelay = 900 * time.Millisecond

// Clear forgets what was logged: there was a candidate that is fine.
func (l *RejectionLog) Clear() { *l = RejectionLog{Logger: l.Logger} }

// Rejected logs a reason that lasts until the file changes.
func (l *RejectionLog) Rejected(reason any) {
	l.since = time.Time{}
	l.log("new version rejected", reason)
}

// NotReady logs a reason that may pass, if it has not passed for a while. It reports whether
// the reason has been logged, by this call or before.
func (l *RejectionLog) NotReady(reason any) (logged bool) {
	if l.since.IsZero() {
		l.since, l.delay = time.Now(), notReadyDelay
	}
	if time.Since(l.since) >= l.delay && l.log("new version not ready yet", reason) {
		l.delay *= 2
	}
	return reasonText(reason) == l.logged
}

func (l *RejectionLog) log(msg string, reason any) (logged bool) {
	text := reasonText(reason)
	if text == l.logged {
		return false
	}
	l.logged = text
	l.Logger.Warn(msg, "reason", reason)
	return true
}

func reasonText(reason any) string {
	switch reason := reason.(type) {
	case *candidate.Rejection:
		return reason.String()
	case error:
		return reason.Error()
	default:
		return ""
	}
}
