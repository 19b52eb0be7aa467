package autorestart

import (
	"context"

	"github.com/autorestart-go/autorestart/internal/report"
)

// CleanUpChildZombies reaps the children that this process had before its
// present image was executed, as a restart leaves them behind. It knows them when
// it returns, and goes on in the background: zombies disappear at once; a child
// that is still alive is sent SIGHUP after five seconds, SIGINT two minutes
// later and SIGTERM one minute after that, and disappears when it ends. What it
// does is logged to standard error.
//
// Children that this image has started itself are not touched, whether they
// were started before the call or after it. A second call finds nothing left to
// do. See [Reaper] for other schedules, reports, and a way to stop it.
func CleanUpChildZombies() { cleanUp(&Reaper{Logger: newStderrLogger()}) }

// CleanUpChildZombiesQuietly is [CleanUpChildZombies] without the logging.
func CleanUpChildZombiesQuietly() { cleanUp(&Reaper{}) }

func cleanUp(r *Reaper) {
	pids := r.take(inheritedChildren)
	err := inheritedChildren.err
	if len(pids) == 0 && err == nil {
		return
	}
	go func() {
		if err != nil {
			report.OrSilent(r.Logger).Warn("some inherited children may be unknown", "error", err)
		}
		r.reap(context.Background(), inheritedChildren, pids)
	}()
}
