//go:build linux

// Package firstprocess makes the executable of this process the first process of a PID
// namespace. The first process of a namespace is special: the kernel drops signals that
// it does not handle, even signals that it sends itself, and it adopts orphans. A program
// that is verified does not expect that, so another process has to be the first.
//
// The package does its work while it is initialised, so that the first process runs
// nothing of the program that it belongs to. Packages are initialised in the order of
// their paths, each after its imports. All imports of this package come before package
// os. Therefore this package is initialised before all that import package os.
// Constructors of C libraries run earlier.
package firstprocess

import (
	"runtime"
	"syscall"
	"time"
)

// Env names the variable that makes a process the first one. It has an effect only in a
// process with PID 1.
const Env = "AUTORESTART_FIRST_PROCESS"

// Ready is what the first process writes to standard output when it is there.
const Ready = "1"

var own bool

func init() {
	if _, ok := syscall.Getenv(Env); ok && syscall.Getpid() == 1 {
		run()
	}
	own = syscall.Gettid() == syscall.Getpid() && !inPlugin()
}

// Own reports whether another process of this executable comes here: whether this package
// belongs to the executable, and not to a library that some other program has loaded. Go
// initialises the packages of an executable in the first thread, those of a C library in
// another one.
func Own() bool { return own }

// inPlugin reports whether the packages are initialised by plugin.Open.
func inPlugin() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		frame, more := frames.Next()
		if len(frame.Function) > len("plugin.") && frame.Function[:len("plugin.")] == "plugin." {
			return true
		}
		if !more {
			return false
		}
	}
}

// run is the first process. It reaps the orphans that it adopts, and exits when its
// standard input ends: when the process that has started it is gone, or executes another
// image. The kernel then kills all processes of the namespace.
func run() {
	go reap()
	syscall.Write(1, []byte(Ready))
	for b := make([]byte, 1); ; {
		n, err := syscall.Read(0, b)
		if err != syscall.EINTR && n <= 0 {
			syscall.Exit(0)
		}
	}
}

// reap waits for orphans. There is nothing to wait for while there is none, so it looks
// again and again: a namespace lasts as long as a program is verified.
func reap() {
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err == syscall.ECHILD {
			time.Sleep(10 * time.Millisecond)
		}
	}
}
