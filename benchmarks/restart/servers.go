//go:build linux

package restart

import "syscall"

// A server is a daemon with one of the libraries.
type server struct {
	name   string
	dir    string // of its source
	strict bool   // its limits are checked

	unix bool // it can hand over Unix sockets

	// restart asks the daemon to restart. It is nil for a daemon that detects a new
	// executable by itself.
	restart func(*process) error
}

var (
	ours    = &server{name: "autorestart", dir: "ours", strict: true, unix: true}
	servers = []*server{
		ours,
		{name: "tableflip", dir: "tableflip", unix: true, restart: func(p *process) error {
			return syscall.Kill(p.current.PID, syscall.SIGHUP)
		}},
		{name: "overseer", dir: "overseer", restart: func(p *process) error {
			return p.cmd.Process.Signal(syscall.SIGUSR2)
		}},
		{name: "tillberg", dir: "original", unix: true},
	}
)
