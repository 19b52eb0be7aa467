//go:build linux

// Package hang is initialised before the library, of which it imports the handover alone:
// such a package can keep a version from ever reaching its main.
package hang

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// Env has a version that is on trial hang before its main, with a timer that a profile of
// the CPU has.
const Env = "AUTORESTART_TEST_HANG"

func init() {
	if os.Getenv(Env) != "" && handover.ProcessTrial.On() {
		const itimerProf = 2
		hour := [2]syscall.Timeval{{Sec: 3600}, {Sec: 3600}}
		syscall.RawSyscall(syscall.SYS_SETITIMER, itimerProf, uintptr(unsafe.Pointer(&hour)), 0)
		for {
			time.Sleep(time.Hour)
		}
	}
}
