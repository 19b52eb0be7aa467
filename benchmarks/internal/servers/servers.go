//go:build linux

// Package servers starts the daemons of the compared libraries, and deploys versions of them.
package servers

import "syscall"

// A Server is a daemon with one of the libraries.
type Server struct {
	Name   string
	Strict bool // its limits are checked

	Unix bool // it can hand over Unix sockets

	dir string // of its source, in benchmarks

	// restart asks the daemon to restart. It is nil for a daemon that detects a new
	// executable by itself.
	restart func(*Process) error
}

// The servers.
var (
	Ours      = &Server{Name: "autorestart", dir: "restart/ours", Strict: true, Unix: true}
	Tableflip = &Server{Name: "tableflip", dir: "restart/tableflip", Unix: true, restart: func(p *Process) error {
		return syscall.Kill(p.Current.PID, syscall.SIGHUP)
	}}
	Overseer = &Server{Name: "overseer", dir: "restart/overseer", restart: func(p *Process) error {
		return p.cmd.Process.Signal(syscall.SIGUSR2)
	}}
	Original = &Server{Name: "tillberg", dir: "restart/original", Unix: true}

	// Streams has WebSockets only.
	Streams = &Server{Name: "streams", dir: "streams/server", Strict: true}
)
