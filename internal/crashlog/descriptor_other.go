//go:build unix && (!linux || autorestart_portable)

package crashlog

import "errors"

// Discard returns an error that wraps [errors.ErrUnsupported].
func (Descriptor) Discard(int64) error { return errors.ErrUnsupported }

// Seal returns an error that wraps [errors.ErrUnsupported].
func (Descriptor) Seal() error { return errors.ErrUnsupported }
