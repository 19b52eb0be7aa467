//go:build linux && !autorestart_portable

package reaper_test

import (
	"context"
	"os/exec"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
)

// The PID of an inherited child comes back beside Orphans, in process 1. TestReusedPID has the same for
// a Reaper.

func init() {
	// starts an orphan that gets the PID noted for it, and ends
	children["parent of the reused"] = func(ready func()) {
		startThreads()
		eventually("the PID", func() bool {
			nextPID(notedPID("orphan"))
			pid := startChild("orphan")
			if pid != notedPID("orphan") {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			return pid == notedPID("orphan")
		})
		ready()
	}
}

// distance is between the PIDs that come back, so that no thread gets one of them.
const distance = 1000

// reusedBesideOrphans has the PIDs of inherited children come back as those of a child of os/exec
// and of an orphan, with and without a /proc that tells.
func reusedBesideOrphans(noProc bool) func() {
	return func() {
		eventually("start times tell images apart", ticksAfterStart)
		var own *exec.Cmd
		reusePID(notedPID("own"), func() int {
			own = startOwn("exit 3")
			if own.Process.Pid != notedPID("own") { // a thread took it
				own.Wait()
				return 0
			}
			return own.Process.Pid
		})
		orphan := notedPID("orphan")
		stealExit(orphan)
		nextPID(distance)
		_, err := syscall.Wait4(startChild("parent of the reused"), nil, 0, nil)
		check(err == nil, err)
		eventually("zombies", func() bool { return isZombie(own.Process.Pid) && isZombie(orphan) })
		if noProc {
			check(forcefallback.Hide("/proc") == nil, "hiding /proc")
		}
		var log, left exitLog
		end := startOrphans(&autorestart.Orphans{
			Reaped:    log.add,
			Undecided: func(c autorestart.Child) { left.add(autorestart.ChildExit{PID: c.PID}) },
		})
		check(syscall.Kill(notedPID("inherited"), syscall.SIGKILL) == nil, "kill")
		for _, pid := range []int{orphan, notedPID("inherited")} {
			eventually("it is reaped, or left", func() bool { return gone(pid) || left.has(pid) })
			check(gone(pid) || !startedByPidfd(), "left", pid)
		}
		err = own.Wait()
		check(own.ProcessState != nil && own.ProcessState.ExitCode() == 3, "stolen:", err, log.copy())
		end()
		if !noProc {
			var lost exitLog
			r := autorestart.Reaper{Reaped: lost.add}
			check(r.Run(context.Background()) == nil, "Run")
			check(lost.of("own").Lost && lost.of("orphan").Lost, lost.exits)
		}
	}
}

func (l *exitLog) has(pid int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.exits[pid].PID == pid
}

// stealExit ends a child, and waits for it as wait4(-1) would.
func stealExit(pid int) {
	syscall.Kill(pid, syscall.SIGKILL)
	got, err := syscall.Wait4(pid, nil, 0, nil)
	check(got == pid || err == syscall.ECHILD, "wait4:", err) // a Reaper may have been first
}

func init() {
	for name, noProc := range map[string]bool{"reused beside orphans": false, "reused beside orphans without /proc": true} {
		registerScenario(name, func() {
			enterPIDNamespace()
			for i, key := range []string{"own", "orphan", "inherited"} {
				nextPID((i + 2) * distance)
				noteChild(key, "live")
			}
		}, reusedBesideOrphans(noProc))
	}
}

func TestReusedBesideOrphans(t *testing.T) {
	runScenarioWithAndWithoutPidfds(t, "reused beside orphans")
}

func TestReusedBesideOrphansWithoutProc(t *testing.T) {
	runScenarioWithAndWithoutPidfds(t, "reused beside orphans without /proc")
}
