//go:build !autorestart_portable

package verify

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// openPath is the path by which a child, to which exe is passed as its first
// extra file, executes just that.
func openPath(*os.File) string { return "/proc/self/fd/3" }

// waitAndKill waits for the command, and calls kill when it has exited and has
// not been waited for, WNOWAIT in waitid(2): until then the number of its process
// group can't be another's.
func waitAndKill(cmd *exec.Cmd, kill func()) error {
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	kill()
	return cmd.Wait()
}
