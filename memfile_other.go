//go:build unix && (!linux || autorestart_portable)

package autorestart

func newMemoryFile(b []byte) (fd int, err error) { return newUnlinkedFile(b) }
