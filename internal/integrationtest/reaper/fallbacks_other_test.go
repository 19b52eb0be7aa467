//go:build unix && (!linux || autorestart_portable)

package reaper_test

var fallbacks = map[string]func() error{
	"portable": func() error { return nil },
}

// seesZombies tells whether the library can tell a zombie from the living.
const seesZombies = false

// seesProcesses tells whether the library knows anything of processes.
func seesProcesses() bool { return false }
