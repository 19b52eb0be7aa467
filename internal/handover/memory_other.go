//go:build unix && (!linux || autorestart_portable)

package handover

// emptyFile is [MemoryFile] without content: an unlinked one, for want of memfd_create(2).
func emptyFile() (fd int, err error) { return unlinkedFile() }

// seal does nothing: an unlinked file has no seals.
func seal(int) {}
