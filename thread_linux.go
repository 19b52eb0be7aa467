//go:build !autorestart_portable

package autorestart

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/reap"
)

// CPUTime reads CLOCK_THREAD_CPUTIME_ID.
func (*childTable) CPUTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return reap.Unsupported{}.CPUTime()
	}
	return time.Duration(t.Nano())
}
