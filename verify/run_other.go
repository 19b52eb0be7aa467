//go:build unix && (!linux || autorestart_portable)

package verify

import (
	"errors"
	"os"
	"os/exec"
)

// openPath is the path of exe, for want of one that leads to what is open.
func openPath(exe *os.File) string { return exe.Name() }

// waitAndKill waits for the command and then calls kill. The number of its
// process group is still its own if there is anybody left in it to be killed.
func waitAndKill(cmd *exec.Cmd, kill func()) error {
	err := cmd.Wait()
	kill()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it exited well, and who still held the pipe has just been killed
	}
	return err
}
