//go:build !autorestart_portable

// The attributes of a thread that can be set. See scheduling_linux.go for those that other threads
// can set, too.
//
//	call                       since    without it
//	PR_GET_PDEATHSIG           2.3.15   -
//	PR_GET_TIMERSLACK          2.6.28   the new image has that of the calling thread

package execve

import (
	"syscall"
	"unsafe"
)

// The errors of these calls change nothing: an attribute that can't be had stays.

// adoptAttributes gives this thread the attributes of the main one, and reports whether that has
// changed it.
func adoptAttributes() (changed bool) {
	changed = adoptScheduling()
	if attributes() != atStart {
		atStart.apply()
		changed = true
	}
	return changed
}

func hasAttributes() bool {
	return hasScheduling() && attributes() == atStart
}

// threadAttributes are those that only a thread itself can ask for.
type threadAttributes struct {
	parentDeath int32 // the signal for it, 0 for none
	timerSlack  uintptr
}

// atStart are those of the main thread, before main: packages are initialised on it.
var atStart = attributes()

const (
	setParentDeath, getParentDeath = 1, 2
	setTimerSlack, getTimerSlack   = 29, 30
)

// attributes returns those of this thread.
func attributes() (a threadAttributes) {
	syscall.RawSyscall(syscall.SYS_PRCTL, getParentDeath, uintptr(unsafe.Pointer(&a.parentDeath)), 0)
	a.timerSlack, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, getTimerSlack, 0, 0)
	return a
}

func (a threadAttributes) apply() {
	syscall.RawSyscall(syscall.SYS_PRCTL, setParentDeath, uintptr(a.parentDeath), 0)
	syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, a.timerSlack, 0)
}
