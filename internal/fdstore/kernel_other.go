//go:build !linux || autorestart_portable

package fdstore

import (
	"errors"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// There is no systemd on other systems, and with the build tag autorestart_portable the library does
// not ask for it.

// now returns 0.
func now() int64 { return 0 }

// sameDescription returns true.
func sameDescription(int, int) (bool, error) { return true, nil }

// accessOf returns 0.
func accessOf(int) (uint64, error) { return 0, nil }

// newMemory returns an error that wraps [errors.ErrUnsupported].
func newMemory() (*sys.FD, error) { return nil, errors.ErrUnsupported }

// OwnNetwork returns 0.
func OwnNetwork() uint64 { return 0 }

// networkOf returns 0.
func networkOf(int) uint64 { return 0 }
