//go:build !autorestart_portable

// Descriptors.
//
//	call             since    without it
//	F_DUPFD_CLOEXEC  2.6.24   -

package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Duplicate returns another descriptor, close-on-exec and above the standard
// streams, of what fd has open. The caller owns it.
func Duplicate(fd int) (*FD, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstAboveStandard)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return NewFD(dup), nil
}
