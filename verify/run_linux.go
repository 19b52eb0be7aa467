//go:build !autorestart_portable

package verify

import (
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// starters are the means to keep together what a program starts. A cgroup comes first: the
// program does not see it. In a PID namespace the program has another PID.
var starters = []starter{startInCgroup, startInNamespace, startInGroup}

// forChild opens exe again, as the first extra file of a child, and returns the path by
// which the child executes it. A lease on exe belongs to what this process has open: a
// child that had a copy of that and lived on would keep the lease. Without /proc the path is
// that of exe, where another file may be by now.
func forChild(exe *os.File) (path string, files []*os.File, err error) {
	name := "/proc/self/fd/" + strconv.Itoa(int(exe.Fd()))
	fd, err := sys.Open(name, unix.O_PATH)
	switch err {
	case nil:
	case unix.ENOENT, unix.EACCES: // without a /proc to search
		return exe.Name(), nil, nil
	default:
		return "", nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return "/proc/self/fd/3", []*os.File{fd.File(exe.Name())}, nil
}

// waitAndKill waits for the command. It calls stop and kill when the command has exited but
// has not been reaped, see WNOWAIT in waitid(2). So the number of its process group still
// belongs to it.
func waitAndKill(cmd *exec.Cmd, stop func() bool, kill func()) (stopped bool, err error) {
	sys.RetryEINTR(func() error {
		return unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	stopped = stop()
	kill()
	return stopped, cmd.Wait()
}
