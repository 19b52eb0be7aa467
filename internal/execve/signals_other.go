//go:build !linux || autorestart_portable

package execve

// prepareSignals does nothing: signals keep their actions during an exec.
func (k *Kept) prepareSignals() (restore func()) { return func() {} }

// endWindow does nothing: no signal is ignored during an exec.
func (k *Kept) endWindow() {}

// StopIgnoring does nothing, likewise.
func StopIgnoring(int) {}

// ignoredAtStart are none: no signal is ignored again, either.
var ignoredAtStart []int
