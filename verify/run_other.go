//go:build unix && (!linux || autorestart_portable)

package verify

import (
	"errors"
	"os"
	"os/exec"
)

// openPath returns the path of exe. Another file may be there by now.
func openPath(exe *os.File) string { return exe.Name() }

// waitAndKill waits for the command and then calls kill. The number of its process group
// still belongs to it if there is any process left in the group.
func waitAndKill(cmd *exec.Cmd, kill func()) error {
	err := cmd.Wait()
	kill()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // the command exited with 0, and the process that held the pipe is killed
	}
	return err
}
