//go:build unix && (!linux || autorestart_portable)

package autorestart

var rungs = map[string]func() error{
	"portable": func() error { return nil },
}

// canPeek tells whether peekChild can tell a zombie from the living.
const canPeek = false

// seesProcesses tells whether there is anything to be known of processes.
func seesProcesses() bool { return false }
