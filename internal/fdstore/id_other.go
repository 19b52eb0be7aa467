//go:build !linux || autorestart_portable

package fdstore

import "errors"

// There is no systemd on other systems, and with the build tag autorestart_portable the library does
// not ask for it.

// IDOf returns an error that wraps [errors.ErrUnsupported].
func IDOf(int) (ID, error) { return ID{}, errors.ErrUnsupported }

// SameDescription returns false.
func SameDescription(int, int) bool { return false }
