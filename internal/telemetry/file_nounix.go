//go:build !unix

package telemetry

import (
	"errors"
	"os"
)

// newFile returns an error that wraps [errors.ErrUnsupported]: there is no exec.
func newFile(name string) (*os.File, error) {
	return nil, &os.PathError{Op: "create", Path: name, Err: errors.ErrUnsupported}
}
