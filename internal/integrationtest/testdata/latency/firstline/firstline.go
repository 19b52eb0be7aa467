// Package firstline is shared by the daemons of the benchmark of restarts.
package firstline

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Report writes the time, in nanoseconds of CLOCK_MONOTONIC, to standard output.
// It is the first line of main.
func Report() {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	os.Stdout.WriteString(strconv.FormatInt(now.Nano(), 10) + "\n")
}
