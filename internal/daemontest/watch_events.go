//go:build linux && !autorestart_portable

package daemontest

import "path/filepath"

// HaveEvents reports whether a watcher finds changes by inotify. Otherwise it polls.
const HaveEvents = true

// WaitForWatch waits until the daemon's watches are in place, so that it finds by
// its events what follows.
func (d *Daemon) WaitForWatch() {
	d.T.Helper()
	WaitFor(d.T, "inotify watches of the daemon", func() bool {
		return d.HasWatch(filepath.Dir(d.Path))
	})
}
