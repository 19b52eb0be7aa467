//go:build !autorestart_portable

package rawsys

import "runtime"

// MIPS says that this is a MIPS machine, where some structures of the kernel have another
// layout.
const MIPS = runtime.GOARCH == "mips" || runtime.GOARCH == "mipsle" ||
	runtime.GOARCH == "mips64" || runtime.GOARCH == "mips64le"

// CallNumbers are the numbers of system calls that package syscall does not have, or not for
// the older machines.
type CallNumbers struct{ Setns, Kcmp, SchedSetattr, SchedGetattr, MemfdCreate, CloseRange, PidfdOpen uintptr }

// Numbers are those of this machine.
var Numbers = func() CallNumbers {
	switch runtime.GOARCH {
	case "amd64":
		return CallNumbers{308, 312, 314, 315, 319, 436, 434}
	case "arm64", "loong64", "riscv64":
		return CallNumbers{268, 272, 274, 275, 279, 436, 434}
	case "386":
		return CallNumbers{346, 349, 351, 352, 356, 436, 434}
	case "arm":
		return CallNumbers{375, 378, 380, 381, 385, 436, 434}
	case "mips", "mipsle":
		return CallNumbers{4344, 4347, 4349, 4350, 4354, 4436, 4434}
	case "mips64", "mips64le":
		return CallNumbers{5303, 5306, 5309, 5310, 5314, 5436, 5434}
	case "ppc64", "ppc64le":
		return CallNumbers{350, 354, 355, 356, 360, 436, 434}
	case "s390x":
		return CallNumbers{339, 343, 345, 346, 350, 436, 434}
	}
	unknown := ^uintptr(0) // the kernel answers ENOSYS
	return CallNumbers{unknown, unknown, unknown, unknown, unknown, unknown, unknown}
}()
