package execve

import (
	"strconv"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// An execLimit is what execve(2) takes, see there and bprm_stack_limits in fs/exec.c of Linux.
type execLimit struct {
	one int // bytes of a string, with its NUL
	all int // bytes of all strings and pointers, the path of the program included
}

// linuxLimit returns the limit of Linux since 4.13: a quarter of the soft RLIMIT_STACK, within
// bounds. Older versions take more if that limit is high.
func linuxLimit(stack uint64, pageSize int) execLimit {
	const least, most, pages = 128 << 10, 6 << 20, 32
	return execLimit{one: pages * pageSize, all: int(min(max(stack/4, least), most))}
}

// check returns an error, which wraps E2BIG, if the limit does not take the program.
func (l execLimit) check(path string, args, env []string) error {
	const pointer = 8 // of a 64-bit kernel, also for a 32-bit program; a 32-bit kernel takes a little more
	all := len(path) + 1 + (max(1, len(args))+len(env))*pointer
	for i, arg := range args {
		if len(arg) >= l.one {
			return &sizeError{"argument " + strconv.Itoa(i), len(arg) + 1, l.one, "for each"}
		}
		all += len(arg) + 1
	}
	for _, variable := range env {
		if len(variable) >= l.one {
			name, _, _ := rawsys.Cut(variable, '=')
			return &sizeError{"the variable " + name, len(variable) + 1, l.one, "for each"}
		}
		all += len(variable) + 1
	}
	if all > l.all {
		return &sizeError{"arguments and environment", all, l.all, "a quarter of the soft RLIMIT_STACK, and at most 6 MiB"}
	}
	return nil
}

// A sizeError says what execve(2) does not take.
type sizeError struct {
	what        string
	size, limit int
	limitOf     string
}

func (e *sizeError) Error() string {
	return e.what + " would take " + strconv.Itoa(e.size) + " bytes; the limit of execve(2) is " +
		strconv.Itoa(e.limit) + ", " + e.limitOf
}

func (e *sizeError) Unwrap() error { return syscall.E2BIG }
