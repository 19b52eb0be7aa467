//go:build !unix

package handover

import "errors"

// MemoryFile fails: nothing crosses an exec where there is none.
func MemoryFile([]byte) (fd int, err error) { return -1, errors.ErrUnsupported }

// ReadMemoryFile fails.
func ReadMemoryFile(fd, most int) ([]byte, error) { return nil, errors.ErrUnsupported }
