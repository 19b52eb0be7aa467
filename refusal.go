package autorestart

import "time"

// refusalLog says why a candidate is not executed: once for each reason, and
// not at all about what passes by itself while a file is being written.
type refusalLog struct {
	_        notComparable
	reason   string        // the last that was logged
	since    time.Time     // when the candidate was first not ready
	patience time.Duration // how long after that there is a line
}

// refusalPatience is how long a candidate may be not ready yet before that is
// worth a line. It is less than the pauses between the looks add up to before
// they reach a second. After each line it doubles: while a file grows, its
// reason is another one at each look.
const refusalPatience = 900 * time.Millisecond

func (l *refusalLog) clear() { *l = refusalLog{} }

func (l *refusalLog) final(logger Logger, err error) {
	l.since = time.Time{}
	l.log(logger, "new version refused", err)
}

func (l *refusalLog) pending(logger Logger, err error) {
	if l.since.IsZero() {
		l.since, l.patience = time.Now(), refusalPatience
	}
	if time.Since(l.since) >= l.patience && l.log(logger, "new version not ready yet", err) {
		l.patience *= 2
	}
}

func (l *refusalLog) log(logger Logger, msg string, err error) bool {
	reason := err.Error()
	if reason == l.reason {
		return false
	}
	l.reason = reason
	logger.Warn(msg, "reason", err)
	return true
}
