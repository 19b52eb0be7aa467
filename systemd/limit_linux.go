//go:build !autorestart_portable

package systemd

import (
	"os"
	"strconv"

	"github.com/autorestart-go/autorestart/internal/origin"
)

// spareDescriptors is how many descriptors systemd needs to start a process, besides those that it
// passes. With less room than that, the unit can't be started any more.
const spareDescriptors = 16

// storeLimit returns how many descriptors systemd passes to the next start at most. It says how many it
// stores in $FDSTORE, since systemd 254. The start also needs room below the soft RLIMIT_NOFILE of the unit.
func storeLimit() int { return lowerLimit(os.Getenv("FDSTORE"), origin.OpenFiles.Soft) }

func lowerLimit(stores string, openFiles uint64) int {
	limit, err := strconv.Atoi(stores)
	switch {
	case err != nil || limit <= 0 || openFiles <= spareDescriptors:
		return 0
	case uint64(limit) > openFiles-spareDescriptors:
		return int(openFiles) - spareDescriptors
	default:
		return limit
	}
}
