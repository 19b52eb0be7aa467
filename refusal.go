package autorestart

import "time"

// refusalLog says why a candidate is not executed: once for each reason, and
// not at all about what passes by itself while a file is being written.
type refusalLog struct {
	reason string
	since  time.Time
	logged bool
}

// refusalPatience is how long a candidate may be not ready yet before that is
// worth a line.
const refusalPatience = time.Second

func (l *refusalLog) clear() { *l = refusalLog{} }

func (l *refusalLog) final(logger Logger, err error) {
	l.note(err)
	l.log(logger, "new version refused", err)
}

func (l *refusalLog) pending(logger Logger, err error) {
	l.note(err)
	if time.Since(l.since) >= refusalPatience {
		l.log(logger, "new version not ready yet", err)
	}
}

func (l *refusalLog) note(err error) {
	if reason := err.Error(); reason != l.reason || l.since.IsZero() {
		*l = refusalLog{reason: reason, since: time.Now()}
	}
}

func (l *refusalLog) log(logger Logger, msg string, err error) {
	if !l.logged {
		l.logged = true
		logger.Warn(msg, "reason", err)
	}
}
