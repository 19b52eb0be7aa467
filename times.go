package autorestart

import (
	"strconv"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// RestartTimes says when the restart that began this image reached each of its steps,
// by the system's clock. A step that had nothing to do has the time of the one before.
type RestartTimes struct {
	Seen     time.Time // a new file was noticed, or Restart was called
	Judged   time.Time // the file was found complete and executable, and Verify had accepted it
	Quiesced time.Time // no new work was accepted any more
	Drained  time.Time // all accepted work was done
	Executed time.Time // right before the execve
	Started  time.Time // this package was initialised
	Ready    time.Time // Ready was called; zero before
}

// LastRestart returns the times of the restart that began this image. The times before
// Started are zero if there was none, and if this version was rolled back to.
func LastRestart() RestartTimes { return self.restartTimes() }

func (p *process) restartTimes() RestartTimes {
	t := RestartTimes{Started: p.started}
	if ns := p.ready.Load(); ns != 0 {
		t.Ready = time.Unix(0, ns)
	}
	fields := strings.Split(p.inherited.Texts[handover.Times], "/")
	for i, at := range t.crossing() {
		if i < len(fields) {
			if ns, err := strconv.ParseInt(fields[i], 10, 64); err == nil {
				*at = time.Unix(0, ns)
			}
		}
	}
	return t
}

// crossing returns the times that the previous image tells this one, in their order.
func (t *RestartTimes) crossing() [5]*time.Time {
	return [...]*time.Time{&t.Seen, &t.Judged, &t.Quiesced, &t.Drained, &t.Executed}
}

// format returns what restartTimes parses: nanoseconds since 1970.
func (t *RestartTimes) format() string {
	var b []byte
	for _, at := range t.crossing() {
		b = append(strconv.AppendInt(b, at.UnixNano(), 10), '/')
	}
	return string(b)
}
