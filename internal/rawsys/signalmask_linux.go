//go:build !autorestart_portable

// The signal mask of a thread.
//
//	call                  since    without it
//	rt_sigprocmask(2)     2.2      -

package rawsys

import (
	"syscall"
	"unsafe"
)

// SigsetSize is the size of the kernel's sigset_t in bytes: a bit for each signal.
var SigsetSize = func() uintptr {
	if MIPS {
		return 16
	}
	return 8
}()

// A SignalMask is the kernel's sigset_t.
type SignalMask [2]uint64

// Change sets m to the signal mask of the calling thread, and that to the given one unless it
// is nil.
//
//go:norace
//go:nosplit
func (m *SignalMask) Change(to *SignalMask) {
	setMask := uintptr(2)
	if MIPS {
		setMask = 3
	}
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, setMask,
		uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(m)), SigsetSize, 0, 0)
}
