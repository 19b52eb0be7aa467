//go:build linux

package program

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
)

// threads are the commands that give threads what belongs to one thread.
var threads = map[string]func(argument string) string{
	// change-threads WHAT changes many threads, but the main one, and leaves them to the
	// runtime, which will run other goroutines on them.
	"change-threads": func(what string) string { return fmt.Sprint(changeThreads(ThreadChanges[what].change)) },
	// change-main WHAT does so to the main thread, as a goroutine may that happens to be on it.
	"change-main": func(what string) string { return fmt.Sprint(changeMain(ThreadChanges[what].change)) },
	// bound-child starts a child with a parent-death signal, on a thread that does not execute the
	// next image, and returns its PID.
	"bound-child": func(string) string {
		started := make(chan string)
		go func() {
			runtime.LockOSThread()
			cmd := exec.Command("sleep", "60")
			cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
			if err := cmd.Start(); err != nil {
				started <- err.Error()
			}
			started <- fmt.Sprint(cmd.Process.Pid)
			select {}
		}()
		return <-started
	},
}

// A ThreadChange is something that a thread may have of its own.
type ThreadChange struct {
	NeedsRoot bool
	change    func() error
}

// ThreadChanges are the arguments of change-threads.
var ThreadChanges = map[string]ThreadChange{
	"network": {true, func() error { return unix.Unshare(unix.CLONE_NEWNET) }},
	"host name": {true, func() error {
		if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
			return err
		}
		return unix.Sethostname([]byte("stray"))
	}},
	"IPC":     {true, func() error { return unix.Unshare(unix.CLONE_NEWIPC) }},
	"mounts":  {true, forcefallback.PrivateMounts},
	"no proc": {true, forcefallback.NoProc},
	"cgroup":  {true, func() error { return unix.Unshare(unix.CLONE_NEWCGROUP) }},
	"groups": {true, func() error {
		group := uint32(4711)
		_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&group)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	}},
	"capabilities": {true, func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if err := unix.Capget(&header, &sets[0]); err != nil {
			return err
		}
		sets[0].Effective &^= 1 << unix.CAP_SYS_TIME
		sets[0].Permitted &^= 1 << unix.CAP_SYS_TIME
		// From the bounding set, too: an exec gives root everything that is in it.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_TIME, 0, 0, 0); err != nil {
			return err
		}
		return unix.Capset(&header, &sets[0])
	}},
	"no new privileges": {false, func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }},
	"seccomp":           {false, func() error { return forcefallback.Deny(memfd) }},
	"directory": {false, func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		unix.Umask(0o31)
		return unix.Chdir("/proc")
	}},
	"signal mask": {false, func() error {
		blocked := unix.Sigset_t{}
		blocked.Val[0] = 1 << (unix.SIGUSR2 - 1)
		return unix.PthreadSigmask(unix.SIG_BLOCK, &blocked, nil)
	}},
	"timer slack":         {false, func() error { return unix.Prctl(unix.PR_SET_TIMERSLACK, 123456, 0, 0, 0) }},
	"parent-death signal": {false, func() error { return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGWINCH), 0, 0, 0) }},
	"nice value":          {false, func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 3) }},
}

// changeThreads changes 20 threads, if the main one is not among them.
func changeThreads(change func() error) error {
	const count = 20
	var locked, changed sync.WaitGroup
	locked.Add(count)
	errs := make([]error, count)
	for i := range count {
		changed.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			locked.Done()
			locked.Wait() // so that each goroutine has a thread of its own
			if unix.Gettid() != os.Getpid() {
				errs[i] = change()
			}
		})
	}
	changed.Wait()
	return errors.Join(errs...)
}

// changeMain changes the main thread if one of 20 goroutines is on it. Its
// goroutine ends without unlocking it, as that of a thread does which is of no more use: otherwise
// the restart might be on it, too, and a version gets the rights that the main thread has by then.
func changeMain(change func() error) error {
	const count = 20
	var locked, done sync.WaitGroup
	locked.Add(count)
	result := errors.New("no goroutine came to the main thread")
	for range count {
		done.Go(func() {
			runtime.LockOSThread()
			locked.Done()
			locked.Wait()
			if unix.Gettid() == os.Getpid() {
				result = change()
			} else {
				runtime.UnlockOSThread()
			}
		})
	}
	done.Wait()
	return result
}
