//go:build unix && (!linux || autorestart_portable)

package handover

// MemoryFile returns a descriptor, close-on-exec and above the standard streams, of a
// file that holds b and has no name: an unlinked one, for want of memfd_create(2). The
// caller owns it.
func MemoryFile(b []byte) (fd int, err error) { return unlinkedFile(b) }
