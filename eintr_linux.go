//go:build !autorestart_portable

package autorestart

import "golang.org/x/sys/unix"

// ignoringEINTR calls f again for as long as a signal interrupts it. Go's own
// preemption sends signals, so every call that can answer EINTR does so in time.
func ignoringEINTR[T any](f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if err != unix.EINTR {
			return v, err
		}
	}
}
