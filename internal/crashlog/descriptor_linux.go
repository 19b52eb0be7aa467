//go:build !autorestart_portable

// Memfds.
//
//	call                   since    without it
//	FALLOC_FL_PUNCH_HOLE   3.5      what does not count takes memory until it is overwritten
//	F_ADD_SEALS            3.17     another process can truncate the file

package crashlog

import (
	"os"
	"syscall"
)

// Discard wraps fallocate(2). The size of the file stays.
func (fd Descriptor) Discard(offset int64) error {
	var st syscall.Stat_t
	if err := ignoringEINTR(func() error { return syscall.Fstat(int(fd), &st) }); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if offset >= st.Size {
		return nil
	}
	const keepSize, punchHole = 1, 2
	length := st.Size - offset + int64(os.Getpagesize()) // of the last page, all goes
	return os.NewSyscallError("fallocate", ignoringEINTR(func() error {
		return syscall.Fallocate(int(fd), keepSize|punchHole, offset, length)
	}))
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); err != syscall.EINTR {
			return err
		}
	}
}

// Seal keeps a memfd from being truncated by whatever process has it open. The memfd may
// still be written and grow. It fails with EINVAL if the file has no seals, and with EPERM if it
// was sealed against further seals before.
func (fd Descriptor) Seal() error {
	const addSeals, sealSeal, sealShrink = 1033, 1, 2
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), addSeals, sealSeal|sealShrink)
	if errno != 0 {
		return os.NewSyscallError("fcntl", errno)
	}
	return nil
}
