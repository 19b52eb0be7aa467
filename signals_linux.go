//go:build !autorestart_portable

// The actions of signals across an exec, by rt_sigaction(2): Go's os/signal can't
// put back what was before, and an exec may fail.

package autorestart

import (
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct of that name, for Go's purposes: the handler is
// its first word, on MIPS its second. All zero is the default action.
type sigaction [8]uintptr

const (
	sigDefault = 0
	sigIgnore  = 1
)

func (a *sigaction) handler() *uintptr {
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		return &a[1]
	}
	return &a[0]
}

func rtSigaction(sig int, action, old *sigaction) error {
	size := uintptr(8)
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		size = 16
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(old)), size, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// ignoreForExec ignores the signals until it is undone. Not SIGCHLD, which ends no
// process: the kernel would throw away what becomes of children meanwhile.
func ignoreForExec(signals []int) (undo func()) {
	signals = slices.DeleteFunc(slices.Clone(signals), func(sig int) bool { return sig == int(unix.SIGCHLD) })
	before := make([]sigaction, len(signals))
	var ignore sigaction
	*ignore.handler() = sigIgnore
	for i, sig := range signals {
		rtSigaction(sig, &ignore, &before[i])
	}
	return func() {
		for i, sig := range signals {
			rtSigaction(sig, &before[i], nil)
		}
	}
}

// stopIgnoring gives a signal its default action, unless somebody has subscribed to
// it.
func stopIgnoring(sig int) {
	var action, none sigaction
	if rtSigaction(sig, nil, &action) == nil && *action.handler() == sigIgnore {
		rtSigaction(sig, &none, nil)
	}
}
