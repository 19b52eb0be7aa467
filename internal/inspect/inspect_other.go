//go:build !linux || autorestart_portable

package inspect

import (
	"context"
	"errors"
)

// Check fails: other processes can't be looked at.
func Check(ctx context.Context, file, path string, judge ...string) ([]Report, error) {
	return nil, errors.ErrUnsupported
}

// Judge fails, as Check does.
func Judge() error { return errors.ErrUnsupported }
