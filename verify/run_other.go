//go:build unix && (!linux || autorestart_portable)

package verify

import (
	"os"
	"os/exec"
)

// starters are the means to keep together what a program starts.
var starters = []starter{startInGroup}

// forChild returns the path of exe. Another file may be there by now.
func forChild(exe *os.File) (path string, files []*os.File, err error) { return exe.Name(), nil, nil }

// waitAndKill waits for the command and then calls stop and kill. The number of its process
// group still belongs to it if there is any process left in the group.
func waitAndKill(cmd *exec.Cmd, stop func() bool, kill func()) (stopped bool, err error) {
	err = cmd.Wait()
	stopped = stop()
	kill()
	return stopped, err
}
