//go:build !linux || autorestart_portable

package handover

// Secure says that the caller of execve may have had fewer rights than this image: it
// is set-user-ID or set-group-ID.
var Secure = Elevated()
