//go:build !unix

package handover

import "errors"

// MemoryFile fails: nothing crosses an exec where there is none.
func MemoryFile([]byte) (fd int, err error) { return -1, errors.ErrUnsupported }

// MemoryFileOf fails.
func MemoryFileOf(FileContent) (fd int, err error) { return -1, errors.ErrUnsupported }

// ReadMemoryFile fails.
func ReadMemoryFile(fd, most int) ([]byte, error) { return nil, errors.ErrUnsupported }

// A Reserve is empty.
type Reserve struct{}

// NewReserve returns an empty Reserve.
func NewReserve() (*Reserve, error) { return new(Reserve), nil }

// Close does nothing.
func (*Reserve) Close() {}

func writtenFile(FileContent) (fd int, err error) { return -1, errors.ErrUnsupported }

func overwrite(fd int, b []byte, offset int) {}

func (*State) memoryFile(func(FileContent) (int, error), FileContent) (fd int, release func(), err error) {
	return -1, nil, errors.ErrUnsupported
}

// MemoryFileOf fails.
func (*State) MemoryFileOf(FileContent) (fd int, release func(), err error) {
	return -1, nil, errors.ErrUnsupported
}
