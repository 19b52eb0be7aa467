//go:build !autorestart_portable

// Descriptors of the same file.
//
//	call           since  without it
//	F_DUPFD_QUERY  6.10   kcmp(2)
//	KCMP_FILE      3.5    two descriptors of one file have the same description

package fdstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// IDOf wraps fstat(2).
func IDOf(fd int) (ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return ID{}, os.NewSyscallError("fstat", err)
	}
	return ID{uint64(st.Dev), st.Ino}, nil
}

// SameDescription reports whether two descriptors, of which the IDs are the same, are duplicates of one
// another, as systemd decides that.
func SameDescription(a, b int) bool {
	const dupfdQuery = 1024 + 3
	if same, err := unix.FcntlInt(uintptr(a), dupfdQuery, b); err == nil {
		return same == 1
	}
	const file = 0 // KCMP_FILE
	pid := uintptr(os.Getpid())
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, file, uintptr(a), uintptr(b), 0)
	return errno != 0 || order == 0
}
