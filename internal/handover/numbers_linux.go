//go:build !autorestart_portable

package handover

import "runtime"

// callNumbers are the numbers of system calls that package syscall does not have for the
// older machines.
type callNumbers struct{ setns, kcmp, schedSetattr, schedGetattr, memfdCreate uintptr }

var numbers = func() callNumbers {
	switch runtime.GOARCH {
	case "amd64":
		return callNumbers{308, 312, 314, 315, 319}
	case "arm64", "loong64", "riscv64":
		return callNumbers{268, 272, 274, 275, 279}
	case "386":
		return callNumbers{346, 349, 351, 352, 356}
	case "arm":
		return callNumbers{375, 378, 380, 381, 385}
	case "mips", "mipsle":
		return callNumbers{4344, 4347, 4349, 4350, 4354}
	case "mips64", "mips64le":
		return callNumbers{5303, 5306, 5309, 5310, 5314}
	case "ppc64", "ppc64le":
		return callNumbers{350, 354, 355, 356, 360}
	case "s390x":
		return callNumbers{339, 343, 345, 346, 350}
	}
	unknown := ^uintptr(0) // the kernel answers ENOSYS
	return callNumbers{unknown, unknown, unknown, unknown, unknown}
}()
