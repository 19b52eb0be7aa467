//go:build !autorestart_portable

package verify

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// openPath returns a path by which a child executes exe itself. The child must have exe as
// its first extra file.
func openPath(*os.File) string { return "/proc/self/fd/3" }

// waitAndKill waits for the command. It calls kill when the command has exited but has not
// been reaped, see WNOWAIT in waitid(2). So the number of its process group still belongs
// to it.
func waitAndKill(cmd *exec.Cmd, kill func()) error {
	sys.RetryEINTR(func() error {
		return unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	kill()
	return cmd.Wait()
}
