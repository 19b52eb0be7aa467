//go:build unix

package rawsys

import "syscall"

// IgnoringEINTR calls f again for as long as a signal interrupts it.
func IgnoringEINTR(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != syscall.EINTR {
			return n, err
		}
	}
}
