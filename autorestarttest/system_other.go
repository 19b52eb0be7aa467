//go:build !linux

package autorestarttest

import (
	"errors"
	"fmt"
	"runtime"
)

// supported returns an error: the agent needs /proc/self/exe and abstract addresses.
func supported() error {
	return fmt.Errorf("daemons are tested on Linux, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
