//go:build !linux || autorestart_portable

package autorestart

const haveEvents = false
