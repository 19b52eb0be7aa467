//go:build unix && !linux

package verify

import "os"

// openPath is the path of exe, for want of one that leads to what is open.
func openPath(exe *os.File) string { return exe.Name() }

// awaitExit can't wait without taking the child away.
func awaitExit(int) {}
