//go:build !autorestart_portable

package reaper_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
)

// isRunning reports whether the process is a child that has not exited.
func isRunning(pid int) bool {
	got, err := peek(unix.P_PID, pid)
	return err == nil && got == 0
}

func isChild(pid int) bool {
	_, err := peek(unix.P_PID, pid)
	return err == nil
}

func haveNoChildren() bool {
	_, err := peek(unix.P_ALL, 0)
	return err == unix.ECHILD
}

func haveNoZombies() bool {
	pid, err := peek(unix.P_ALL, 0)
	return err == unix.ECHILD || err == nil && pid == 0
}

// endChildren ends and waits for all children, and those that come to this process meanwhile.
func endChildren() {
	for {
		all, err := os.ReadDir("/proc/self/task")
		check(err == nil, err)
		for _, task := range all {
			b, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
			for field := range strings.FieldsSeq(string(b)) {
				pid, _ := strconv.Atoi(field)
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		if _, err := unix.Wait4(-1, nil, unix.WALL, nil); err == unix.ECHILD {
			return
		}
	}
}

// tell tells the parent a number. A child calls it once, before it is ready.
func tell(n int) {
	unix.Write(readyFD, []byte(strconv.Itoa(n)))
}

// isHeldByTracer reports whether the process has exited and is still there.
func isHeldByTracer(pid int) bool { return stateOf(pid) == "Z" }

// stateOf returns the state of a process as /proc shows it, "" if there is no process.
func stateOf(pid int) string {
	if fields := statFields(pid); fields != nil {
		return fields[0]
	}
	return ""
}

// statFields returns the fields of /proc/PID/stat from the third on, the state; nil if there
// is no such process.
func statFields(pid int) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// seesOwnProcesses reports whether /proc is there and counts PIDs as we do.
func seesOwnProcesses() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
}

// ticksAfterStart reports whether this image has run for so long that a PID may have
// been given out again, and that start times, which are counted in ticks of 10 ms,
// tell its own children from inherited ones.
func ticksAfterStart() bool {
	return time.Since(autorestart.LastRestart().Started) > 30*time.Millisecond
}

func freeChildren() []int {
	list, err := autorestart.InheritedChildren()
	check(err == nil, err)
	pids := make([]int, len(list))
	for i, c := range list {
		pids[i] = c.PID
	}
	return pids
}

// listChildren lists the children of the main thread, where inherited children and
// orphans are, or where they can't be listed all children.
func listChildren() (pids []int) {
	if b, err := os.ReadFile(mainThreadsChildren()); err == nil {
		for field := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(field)
			check(err == nil, "children file:", string(b))
			pids = append(pids, pid)
		}
		return pids
	}
	limit := 32768
	if os.Getpid() >= limit {
		limit = 4194304
	}
	for pid := 1; pid < limit; pid++ {
		if isChild(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// mainThreadsChildren is the file that lists the children of the main thread.
func mainThreadsChildren() string {
	return "/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children"
}

// skip ends a scenario that can't be played here.
func skip(reason ...any) {
	fmt.Println(append([]any{"skip:"}, reason...)...)
	os.Exit(0)
}
