package statuspage

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// scanners is how many processes [Scan] looks at at the same time. A process that executes another version is looked
// at again and again for a moment.
const scanners = 16

// Scan calls visit for each process that this one can see, in no order, with one call at a time. The error is one of
// [Find]; without an error, r is the page of the process. visit returns true to keep r open.
func Scan(visit func(pid int, r *Reader, err error) (keep bool)) error {
	pids, err := processes()
	if err != nil {
		return err
	}
	next := make(chan int)
	var visiting sync.Mutex
	var all sync.WaitGroup
	for range scanners {
		all.Go(func() {
			for pid := range next {
				r, err := findNow(pid)
				visiting.Lock()
				keep := visit(pid, r, err)
				visiting.Unlock()
				if err == nil && !keep {
					r.Close()
				}
			}
		})
	}
	for _, pid := range pids {
		next <- pid
	}
	close(next)
	all.Wait()
	return nil
}

// scanAttempts is as findAttempts, for a process that may have closed all files for ever.
const scanAttempts = 30

// findNow is [Find] that waits for no process but one that executes another version.
func findNow(pid int) (r *Reader, err error) {
	for range scanAttempts {
		if r, err = find(pid); err != errNoFiles || !hasProgram(pid) {
			break
		}
		time.Sleep(findPause)
	}
	if err == errNoFiles {
		err = ErrNoPage
	}
	return r, err
}

// hasProgram reports false for a process that has ended, and for a thread of the kernel.
func hasProgram(pid int) bool {
	stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const ( // in proc_pid_stat(5) from field 3
		state, flags, threads = 0, 6, 17
		kernelThread          = 0x00200000
	)
	if len(fields) <= threads {
		return false
	}
	f, _ := strconv.ParseUint(fields[flags], 10, 64)
	// The main thread of a process that executes may have ended before the others.
	return f&kernelThread == 0 && (fields[state] != "Z" || fields[threads] != "1")
}

// processes returns the PIDs of all processes.
func processes() (pids []int, err error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// IsAlive reports whether there is a process with the PID that has not ended.
func IsAlive(pid int) bool { return hasProgram(pid) }

// PID returns the PID of the process, as this process sees it.
func (r *Reader) PID() int { return r.pid }

// IsOpen reports whether the process still has the page. It is true if that can't be told.
func (r *Reader) IsOpen() bool {
	open, err := isOpenIn(r.pid, r.page)
	return open || err != nil && err != ErrNoProcess
}

// Open is [Find] that waits for no process but one that executes another version.
func Open(pid int) (*Reader, error) { return findNow(pid) }
