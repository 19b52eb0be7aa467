//go:build linux && autorestart_portable

package daemontest

import "strings"

// HaveEvents reports whether a watcher finds changes by inotify. Otherwise it polls.
const HaveEvents = false

// WaitForWatch waits until the daemon has logged that it polls. An image that finds a
// new version at its first look logs nothing of polling. The line about a restart may be lost
// in it, and then the next image says so.
func (d *Daemon) WaitForWatch() {
	d.T.Helper()
	WaitFor(d.T, "line about polling from this image", func() bool {
		log := d.Log()
		const restart, lost = "restarting path=", "log lines lost at the restart" // as either logger writes it
		return strings.Count(log, restart)+strings.Count(log, lost) >= d.Last.Generation-1 &&
			strings.LastIndex(log, "polling every") > max(strings.LastIndex(log, restart), strings.LastIndex(log, lost))
	})
}
