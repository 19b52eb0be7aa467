//go:build unix && (!linux || autorestart_portable)

package handover

import "syscall"

// emptyFile is [MemoryFile] without content: an unlinked one, for want of memfd_create(2).
func emptyFile() (fd int, err error) { return unlinkedFile() }

// seal does nothing: an unlinked file has no seals.
func seal(int) {}

// inMemory returns false: the temporary directory may be on a disk.
func inMemory(int) bool { return false }

// overwrite writes b over what is at the offset of a file. Without it, what is there stays.
func overwrite(fd int, b []byte, offset int) { syscall.Pwrite(fd, b, int64(offset)) }
