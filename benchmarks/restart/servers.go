//go:build linux

package restart

import "syscall"

// A server is one of those that are compared. The folder of its name, or dir,
// holds its daemon.
type server struct {
	name   string
	dir    string
	strict bool // it has limits to keep

	unix bool // it can hand over Unix sockets

	// restart has a daemon restart whose executable has been replaced.
	// A daemon without it notices by itself.
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
