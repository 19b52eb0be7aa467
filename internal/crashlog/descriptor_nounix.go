//go:build !unix

package crashlog

import "errors"

// A Descriptor is no file here: there is no process that keeps one. All of its methods return an
// error that wraps [errors.ErrUnsupported].
type Descriptor int

// ReadAt fails.
func (Descriptor) ReadAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// WriteAt fails.
func (Descriptor) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// Discard fails.
func (Descriptor) Discard(int64) error { return errors.ErrUnsupported }

// Seal fails.
func (Descriptor) Seal() error { return errors.ErrUnsupported }
