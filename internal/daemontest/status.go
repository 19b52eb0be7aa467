//go:build linux

package daemontest

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Status describes a daemon.
type Status struct {
	PID         int
	Version     int
	Generation  int // counted from 1
	Args, Env   [][]byte
	Dir         string
	Comm        string
	Umask       int
	SoftNofile  uint64
	ParentDeath int               // the signal for it
	Files       map[string]string // descriptor -> target of the link in /proc
	Threads     int
}

// Self returns the status of this process.
func Self() Status {
	s := Status{
		PID:         os.Getpid(),
		Version:     Version(),
		Generation:  generation,
		ParentDeath: parentDeathAtStart,
		Files:       map[string]string{},
	}
	for _, arg := range os.Args {
		s.Args = append(s.Args, []byte(arg))
	}
	for _, kv := range environ {
		s.Env = append(s.Env, []byte(kv))
	}
	s.Dir, _ = syscall.Getwd()
	comm, _ := os.ReadFile("/proc/self/comm")
	s.Comm = strings.TrimSpace(string(comm))
	s.Umask = unix.Umask(0)
	unix.Umask(s.Umask)
	limits, _ := os.ReadFile("/proc/self/limits")
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			s.SoftNofile, _ = strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
		}
	}
	files, _ := os.ReadDir("/proc/self/fd")
	for _, file := range files {
		// The descriptor that ReadDir itself used is gone.
		if target, err := os.Readlink("/proc/self/fd/" + file.Name()); err == nil {
			s.Files[file.Name()] = target
		}
	}
	threads, _ := os.ReadDir("/proc/self/task")
	s.Threads = len(threads)
	return s
}

// parentDeathAtStart is read by the first thread.
var parentDeathAtStart = func() int {
	var sig int32
	unix.Syscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0)
	return int(sig)
}()
