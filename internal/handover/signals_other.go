//go:build !linux || autorestart_portable

package handover

// prepareSignals does nothing: signals keep their actions during an exec.
func (s *State) prepareSignals() (restore func()) { return func() {} }

// endWindow does nothing: no signal is ignored during an exec.
func (s *State) endWindow() {}

// StopIgnoring does nothing, likewise.
func StopIgnoring(int) {}

// ignoredSignals returns nothing: no signal is ignored again, either.
func ignoredSignals() []int { return nil }
