package origin

import (
	"runtime"
	_ "unsafe" // for go:linkname
)

// A Limit is a limit of getrlimit(2).
type Limit struct{ Soft, Hard uint64 }

// OpenFiles is RLIMIT_NOFILE, before package syscall raises the soft limit to one less than the
// hard one. It is zero if it can't be told.
var OpenFiles = openFiles()

func openFiles() (limit Limit) {
	resource := 7
	switch runtime.GOARCH {
	case "mips", "mipsle", "mips64", "mips64le":
		resource = 5
	}
	if prlimit(0, resource, nil, &limit) != nil {
		return Limit{}
	}
	return limit
}

// prlimit is what golang.org/x/sys/unix has it from. It needs no initialisation.
//
//go:linkname prlimit syscall.prlimit
func prlimit(pid, resource int, new, old *Limit) error
