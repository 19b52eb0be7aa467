//go:build !autorestart_portable

// Stand-ins as processes.
//
//	call                 since    without it
//	CLONE_PIDFD          5.2      there are no stand-ins
//	poll of a pidfd      5.3      the same
//	PR_SET_PDEATHSIG     2.1.57   -
//	waitid with WNOWAIT  2.6.9    -
//	/proc/PID/fd         2.2      what is not close-on-exec is open in the stand-in, too
//	kcmp(2)              3.5      a stand-in that is stopped before its exec holds up the restart
//	oom_score_adj        2.6.36   the kernel may end the main process first

package standin

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/activation"
	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// child is a process that this one has started, as the image that has started it, or a later one,
// knows it.
type child struct {
	number int
	pidfd  int
	file   *os.File // of pidfd

	mu     sync.Mutex
	group  bool // its process group is killed when it has ended
	reaped bool

	gone   chan struct{} // closed when it was waited for
	status unix.WaitStatus
	lost   bool // other code has waited for it: the status is not known
}

// newChild waits for a child in the background. It takes over the pidfd.
func newChild(pid int, pidfd *sys.FD) (*child, error) {
	if err := unix.SetNonblock(pidfd.Int(), true); err != nil {
		pidfd.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	c := &child{number: pid, pidfd: pidfd.Int(), gone: make(chan struct{})}
	c.file = pidfd.File("stand-in")
	conn, err := c.file.SyscallConn()
	if err != nil {
		c.file.Close()
		return nil, err
	}
	go func() {
		err := conn.Read(func(uintptr) (done bool) { return c.reap() })
		if err != nil { // the runtime's poller has not taken the pidfd
			c.await()
		}
		close(c.gone)
	}()
	return c, nil
}

// reap waits for the child if it has ended, and reports that.
func (c *child) reap() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var info unix.Siginfo
	err := sys.RetryEINTR(func() error {
		return unix.Waitid(unix.P_PID, c.number, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	})
	switch {
	case err != nil:
		c.reaped, c.lost = true, true
		return true
	case info.Signo == 0:
		return false
	}
	if c.group { // while no other process can have the number
		unix.Kill(-c.number, unix.SIGKILL)
	}
	c.reaped = true
	err = sys.RetryEINTR(func() error {
		_, err := unix.Wait4(c.number, &c.status, 0, nil)
		return err
	})
	c.lost = err != nil
	return true
}

// await waits for the child with a thread of its own.
func (c *child) await() {
	for !c.reap() {
		unix.Waitid(unix.P_PID, c.number, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
}

func (c *child) pid() int { return c.number }

func (c *child) inherited() int { return c.pidfd }

func (c *child) close() { c.file.Close() }

func (c *child) done() <-chan struct{} { return c.gone }

func (c *child) killGroup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		unix.Kill(-c.number, unix.SIGKILL)
		unix.Kill(c.number, unix.SIGKILL) // it may have left the group
	}
}

func (c *child) killGroupAtEnd(kill bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.group = kill
}

// how returns how the child has ended. It is called after that.
func (c *child) how() (text string, killed bool) {
	switch s := c.status; {
	case c.lost:
		return "it has ended", false
	case s.Signaled():
		return "it was ended by a signal: " + s.Signal().String(), s.Signal() == unix.SIGKILL
	default:
		return "it has exited with status " + strconv.Itoa(s.ExitStatus()), false
	}
}

// spawn starts a child with the given descriptors under the same numbers, and nothing else but
// streams: standard input, output and error. No descriptor above the highest number is inherited by
// every child. The child is killed if the thread that forks it ends, so that lives until started is
// closed.
func spawn(path string, args, env []string, descriptors []int, streams [3]int, highest int, started <-chan struct{}) (*child, error) {
	const none = ^uintptr(0)
	descriptors = append(descriptors, announced()...)
	files := make([]uintptr, max(slices.Max(descriptors), highest)+1)
	for i := range files {
		files[i] = none
	}
	for _, fd := range descriptors {
		files[fd] = uintptr(fd)
	}
	for i, fd := range streams {
		files[i] = uintptr(fd)
	}
	pid, pidfd := 0, -1
	result := make(chan error, 1)
	go func() {
		// The child inherits what belongs to the thread that forks. That is this one, or one that
		// goes on existing.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := execve.AsLeader(func() (err error) {
			pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{
				Env:   env,
				Files: files,
				Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &pidfd},
			})
			return err
		})
		result <- err
		if err == nil {
			<-started
		}
	}()
	err := awaitFork(result)
	if err == unix.EBADF { // package syscall needs a number above all others for a moment
		err = unix.EMFILE
	}
	if err != nil {
		return nil, &os.PathError{Op: "fork and exec", Path: path, Err: err}
	}
	fd, err := sys.AboveStandard(pidfd, nil)
	if pidfd < 0 {
		err = os.NewSyscallError("clone with CLONE_PIDFD", errors.ErrUnsupported)
	}
	if err == nil {
		var c *child
		if c, err = newChild(pid, fd); err == nil {
			killFirst(pid)
			return c, nil
		}
	}
	unix.Kill(-pid, unix.SIGKILL)
	sys.RetryEINTR(func() error {
		_, err := unix.Wait4(pid, nil, 0, nil)
		return err
	})
	return nil, err
}

// forkCheck is how often a fork that takes long is looked at.
const forkCheck = 200 * time.Millisecond

// awaitFork returns the result of a fork and exec. A child that stands still in between holds up the
// thread that has forked it, and all other forks. It is killed: no other process sees the result of
// that fork.
func awaitFork(result <-chan error) error {
	var suspects []int
	for {
		select {
		case err := <-result:
			return err
		case <-time.After(forkCheck):
		}
		stopped := stoppedCopies()
		for _, pid := range stopped {
			if slices.Contains(suspects, pid) {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		suspects = stopped
	}
}

// stoppedCopies returns the children that have stopped and share the memory of this process, which
// a child does from the fork to the exec.
func stoppedCopies() (pids []int) {
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(field)
			if err == nil && isStopped(field) && sharesMemory(pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func isStopped(pid string) bool {
	stat, _ := os.ReadFile("/proc/" + pid + "/stat")
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "T")
}

// sharesMemory wraps kcmp(2).
func sharesMemory(pid int) bool {
	const vm = 1
	differs, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(unix.Getpid()), uintptr(pid), vm, 0, 0, 0)
	return errno == 0 && differs == 0
}

// announced returns the descriptors that a supervisor has passed to this process, see
// sd_listen_fds(3). Package sockets takes one when the program listens at its address.
func announced() (descriptors []int) {
	names, _ := activation.Get().For(os.Getpid())
	for i := range names {
		fd := activation.FirstDescriptor + i
		if closeOnExec, _, err := sys.Flags(fd); err == nil && !closeOnExec {
			descriptors = append(descriptors, fd)
		}
	}
	return descriptors
}

// killFirst has the kernel end a child before this process when memory is short: then only the
// restart fails.
func killFirst(pid int) {
	const more, most = 100, 1000
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return
	}
	if now, err := strconv.Atoi(strings.TrimSpace(string(own))); err == nil {
		text := strconv.Itoa(min(now+more, most))
		os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(text), 0)
	}
}

// highestInheritable returns the highest descriptor that every child inherits, as far as /proc
// tells: one that C code or the starter of this process has opened. One above the limit of open
// files can't be closed in a child.
func highestInheritable() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 2
	}
	limit := math.MaxInt
	var rlimit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &rlimit) == nil && rlimit.Cur < math.MaxInt32 {
		limit = int(rlimit.Cur) - 1 // ForkExec needs the number above
	}
	highest := 2
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > highest && fd < limit {
			if closeOnExec, _, err := sys.Flags(fd); err == nil && !closeOnExec {
				highest = fd
			}
		}
	}
	return highest
}

// Supported returns why this system can't have stand-ins; nil if it can.
func Supported() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	switch {
	case err == nil:
		unix.Close(fd)
		return nil
	case handover.MayPass(err):
		return nil // the start of a stand-in will tell
	default:
		return os.NewSyscallError("pidfd_open", err)
	}
}
