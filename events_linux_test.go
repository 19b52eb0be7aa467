//go:build !autorestart_portable

package autorestart

// haveEvents: changes are noticed by inotify.
const haveEvents = true
