//go:build !unix

package handover

import "errors"

// MemoryFile fails: nothing crosses an exec where there is none.
func MemoryFile([]byte) (fd int, err error) { return -1, errors.ErrUnsupported }

// ReadMemoryFile fails.
func ReadMemoryFile(fd, most int) ([]byte, error) { return nil, errors.ErrUnsupported }

// A Reserve is empty.
type Reserve struct{}

// NewReserve returns an empty Reserve.
func NewReserve() (*Reserve, error) { return new(Reserve), nil }

// Close does nothing.
func (*Reserve) Close() {}

func writtenFile([]byte) (fd int, err error) { return -1, errors.ErrUnsupported }

func overwrite(fd int, b []byte, offset int) {}

func (*State) memoryFile(func([]byte) (int, error), []byte) (fd int, release func(), err error) {
	return -1, nil, errors.ErrUnsupported
}

// MemoryFile fails.
func (*State) MemoryFile([]byte) (fd int, release func(), err error) {
	return -1, nil, errors.ErrUnsupported
}
