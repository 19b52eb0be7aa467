//go:build linux && autorestart_portable

package daemontest

import "strings"

// HaveEvents reports whether a watcher finds changes by inotify. Otherwise it polls.
const HaveEvents = false

// WaitForWatch waits until the daemon has logged that it polls. An image that finds a
// new version at its first look logs nothing of polling.
func (d *Daemon) WaitForWatch() {
	d.T.Helper()
	WaitFor(d.T, "line about polling from this image", func() bool {
		log := d.Log()
		const restart = "restarting path=" // as either logger writes it
		return strings.Count(log, restart) >= d.Last.Generation-1 &&
			strings.LastIndex(log, "polling every") > strings.LastIndex(log, restart)
	})
}
