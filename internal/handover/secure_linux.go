//go:build !autorestart_portable

// Whether the starter of this image may have fewer rights.
//
//	call           since    without it
//	AT_SECURE      2.6.0    -
//	PR_GET_AUXV    6.4      the auxiliary vector that the runtime has found

package handover

import (
	"syscall"
	"unsafe"
)

// Secure says that the caller of execve may have had fewer rights than this image:
// AT_SECURE in getauxval(3). The kernel sets it for set-user-ID and set-group-ID programs,
// for programs that file capabilities give more than their starter had, and where a
// security module asks for it. Then the path that the image was started by, its
// environment and its working directory are a stranger's.
//
// Ambient capabilities, which the starter had too, don't set it.
var Secure = Elevated() || secure(auxv)

// secure looks for AT_SECURE in an auxiliary vector. Without one the answer is yes, see
// readAuxv.
func secure(auxv []uintptr) bool {
	const atSecure = 23
	value, ok := find(auxv, atSecure)
	return !ok || value != 0
}

var auxv = readAuxv()

// Auxv returns an entry of the auxiliary vector, see getauxval(3).
func Auxv(key uintptr) (value uintptr, ok bool) { return find(auxv, key) }

func find(auxv []uintptr, key uintptr) (value uintptr, ok bool) {
	for ; len(auxv) > 1; auxv = auxv[2:] {
		if auxv[0] == key {
			return auxv[1], true
		}
	}
	return 0, false
}

// readAuxv returns the auxiliary vector. The kernel's own word is better than that of the
// runtime: the C library of a dynamically linked program moves the environment when it
// removes variables that are unsafe in a secure program, and then the runtime does not find
// the vector behind it. The file /proc/self/auxv can't be read in such a program.
func readAuxv() []uintptr {
	if v := kernelAuxv(); len(v) > 0 {
		return v
	}
	return getAuxv()
}

// kernelAuxv returns the auxiliary vector as the kernel has it; nil if it does not tell.
func kernelAuxv() []uintptr {
	const prGetAuxv = 0x41555856
	v := make([]uintptr, 128) // twice of what there is
	size := uintptr(len(v)) * unsafe.Sizeof(v[0])
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prGetAuxv, uintptr(unsafe.Pointer(&v[0])), size, 0, 0, 0)
	if errno != 0 {
		return nil
	}
	return v[:min(n, size)/unsafe.Sizeof(v[0])]
}

// getAuxv is what golang.org/x/sys/unix has it from, which this package can't import.
//
//go:linkname getAuxv runtime.getAuxv
func getAuxv() []uintptr
