//go:build !linux || autorestart_portable

package systemd

// storeLimit returns 0: there is no systemd on other systems, and with the build tag
// autorestart_portable the library does not ask for it. So Start stores nothing there, and takes nothing
// over.
//
// On Linux, limit_linux.go returns how many descriptors systemd passes to the next start. That is the
// lower one of
//   - $FDSTORE, which systemd 254 and later set
//   - the soft RLIMIT_NOFILE of the unit, less what systemd needs to start a process.
//
// Package origin has the limit from before package syscall has raised it. It has none on other
// systems.
func storeLimit() int { return 0 }
