package autorestart

import "time"

// Child is what is known of a child that this process had before its present
// image was executed.
type Child struct {
	PID     int
	Command string    // the kernel's name for it, at most 15 bytes; empty if it can't be had
	Args    []string  // its command line; none for a zombie
	Started time.Time // to 10 ms; zero if it can't be had
}
