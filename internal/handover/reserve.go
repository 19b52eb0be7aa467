//go:build unix

package handover

import (
	"syscall"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// A Reserve has what an exec needs open: once everything has been drained, there may
// be no descriptor left. The exec opens what can be opened then, and takes from the Reserve
// what can't.
type Reserve struct {
	files    []int // for the manifest and the carrier; empty, and not sealed
	attester attesterReserve
}

// NewReserve returns a Reserve for an exec and its further attempts. The caller closes it. An
// error may pass. Where no file can be made at all, which lasts, the Reserve has none.
func NewReserve() (*Reserve, error) {
	r := new(Reserve)
	for range 2 {
		fd, err := emptyFile()
		switch {
		case err == nil:
			r.files = append(r.files, fd)
		case MayPass(err):
			r.Close()
			return nil, err
		}
	}
	if err := r.attester.fill(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close closes what is left.
func (r *Reserve) Close() {
	for _, fd := range r.files {
		rawsys.Close(fd)
	}
	r.files = nil
	r.attester.close()
}

// MemoryFileOf is [MemoryFileOf], or else puts the content into a file of the Reserve. The caller
// calls release when the exec has failed.
func (s *State) MemoryFileOf(content FileContent) (fd int, release func(), err error) {
	return s.memoryFile(MemoryFileOf, content)
}

// memoryFile is MemoryFileOf with another function that makes files.
func (s *State) memoryFile(newFile func(FileContent) (int, error), content FileContent) (fd int, release func(), err error) {
	fd, err = newFile(content)
	if err == nil {
		return fd, func() { rawsys.Close(fd) }, nil
	}
	r := s.Reserve
	if r == nil || len(r.files) == 0 {
		return -1, nil, err
	}
	last := len(r.files) - 1
	fd, r.files = r.files[last], r.files[:last]
	if err = writeAll(fd, content(inMemory(fd))); err != nil {
		r.putBack(fd)
		return -1, nil, err
	}
	return fd, func() { r.putBack(fd) }, nil
}

// putBack puts a file back into the Reserve, empty.
func (r *Reserve) putBack(fd int) {
	_, err := rawsys.IgnoringEINTR(func() (int, error) { return 0, syscall.Ftruncate(fd, 0) })
	if err == nil {
		_, err = syscall.Seek(fd, 0, 0)
	}
	if err != nil {
		rawsys.Close(fd) // which leaves room for another one
		return
	}
	r.files = append(r.files, fd)
}
