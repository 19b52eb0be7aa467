//go:build !autorestart_portable

// What a thread can give up for good, because the main one has.
//
//	call                     since     without it
//	capset(2)                2.2       -
//	PR_CAPBSET_DROP          2.6.25    -
//	PR_SET_NO_NEW_PRIVS      3.5       -
//	PR_CAP_AMBIENT           4.3       -

package execve

import (
	"strconv"
	"syscall"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

const (
	dropBounding               = 24
	setNoNewPrivs              = 38
	setAmbient, dropAmbient    = 47, 3
	capabilityVersion, numSets = 0x20080522, 3
)

// giveUpRights takes from this thread the capabilities that the main one did not have, and
// the way to new ones, and reports whether it had any. Errors show by what it still differs in.
func (main *standing) giveUpRights() (changed bool) {
	own := readRights(thisThread)
	if own == "" || main.rights == "" {
		return false
	}
	excess := func(set string) uint64 {
		n := rightsNumber(own, set) &^ rightsNumber(main.rights, set)
		changed = changed || n != 0
		return n
	}
	ambient, bounding := excess("CapAmb"), excess("CapBnd")
	for c := range uintptr(64) {
		if ambient>>c&1 != 0 {
			syscall.RawSyscall(syscall.SYS_PRCTL, setAmbient, dropAmbient, c)
		}
		if bounding>>c&1 != 0 { // that takes CAP_SETPCAP, which may be given up below
			syscall.RawSyscall(syscall.SYS_PRCTL, dropBounding, c, 0)
		}
	}
	var data [2][numSets]uint32 // low and high halves, in the order of struct __user_cap_data_struct
	var more uint64             // than the main thread has
	for i, set := range [numSets]string{"CapEff", "CapPrm", "CapInh"} {
		n := excess(set)
		keep := rightsNumber(own, set) &^ n
		data[0][i], data[1][i] = uint32(keep), uint32(keep>>32)
		more |= n
	}
	if more != 0 && !isFatal(syscall.SYS_CAPSET) {
		header := struct{ version, pid uint32 }{version: capabilityVersion}
		syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
	}
	if none := "NoNewPrivs"; rightsNumber(own, none) < rightsNumber(main.rights, none) {
		changed = true
		syscall.RawSyscall(syscall.SYS_PRCTL, setNoNewPrivs, 1, 0)
	}
	return changed
}

// rightsNumber returns the number in the line with the key; 0 without that.
func rightsNumber(rights, key string) (n uint64) {
	for rest := rights; rest != ""; {
		var line string
		line, rest, _ = rawsys.Cut(rest, '\n')
		if name, value, _ := rawsys.Cut(line, ':'); name == key && value != "" {
			n, _ = strconv.ParseUint(value[1:], 16, 64) // after a tab
		}
	}
	return n
}
