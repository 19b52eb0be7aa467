//go:build !autorestart_portable

package handover

import _ "unsafe" // for go:linkname

// Secure says that the caller of execve may have had fewer rights than this image:
// AT_SECURE in getauxval(3). The kernel sets it for set-user-ID and set-group-ID programs,
// for programs that file capabilities give more than their starter had, and where a
// security module asks for it. Then the path that the image was started by, its
// environment and its working directory are a stranger's.
//
// Ambient capabilities, which the starter had too, don't set it.
var Secure = auxv(atSecure) != 0 || Elevated()

const atSecure = 23

// auxv returns a value of the auxiliary vector, or 0. The file /proc/self/auxv can't be
// read where it matters.
func auxv(key uintptr) uintptr {
	for v := getAuxv(); len(v) > 1; v = v[2:] {
		if v[0] == key {
			return v[1]
		}
	}
	return 0
}

// getAuxv is what golang.org/x/sys/unix has it from, which this package can't import.
//
//go:linkname getAuxv runtime.getAuxv
func getAuxv() []uintptr
