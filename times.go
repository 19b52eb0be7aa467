package autorestart

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// RestartTimes tells when the restart that began this image came to each of its
// steps, by the system's clock. A step that had nothing to do has the time of the
// one before.
type RestartTimes struct {
	Seen     time.Time // a new file was noticed, or Restart called
	Judged   time.Time // it was found fit, and Verify had accepted it
	Quiesced time.Time // nothing new was taken on any more
	Drained  time.Time // everything taken on was done with
	Executed time.Time // right before the execve
	Started  time.Time // this package was initialised
	Ready    time.Time // Ready was called; zero before
}

// LastRestart returns the times of the restart that began this image. Those before
// Started are zero if there was none, and if this version was taken back.
func LastRestart() RestartTimes {
	t := RestartTimes{Started: started}
	if ns := readySince.Load(); ns != 0 {
		t.Ready = time.Unix(0, ns)
	}
	fields := strings.Split(inherited.Texts[handover.Times], "/")
	for i, at := range [...]*time.Time{&t.Seen, &t.Judged, &t.Quiesced, &t.Drained, &t.Executed} {
		if i < len(fields) {
			if ns, err := strconv.ParseInt(fields[i], 10, 64); err == nil {
				*at = time.Unix(0, ns)
			}
		}
	}
	return t
}

// readySince is when Ready was called first, in nanoseconds since 1970.
var readySince atomic.Int64

// restartTimes are the first of the times, in nanoseconds since 1970, as they
// cross the exec.
type restartTimes struct{ seen, judged, quiesced, drained, executed int64 }

func now() int64 { return time.Now().UnixNano() }

func (t *restartTimes) String() string {
	var b []byte
	for _, ns := range [...]int64{t.seen, t.judged, t.quiesced, t.drained, t.executed} {
		b = append(strconv.AppendInt(b, ns, 10), '/')
	}
	return string(b)
}
