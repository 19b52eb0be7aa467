//go:build !linux || autorestart_portable

package handover

// There are no stand-ins on this system: a process that is told that it is one starts normally.

// StandInGreeting returns nothing.
func StandInGreeting(pid int) []byte { return nil }

// isStandIn returns false.
func isStandIn(variable string, parent int) bool { return false }

// endStandIn does nothing.
func endStandIn(reason string) {}

// becomeStandIn does nothing.
func (s *State) becomeStandIn() {}

// OnEndOfMain does nothing.
func OnEndOfMain(f func(lives bool)) {}

// OnRejection does nothing.
func (*Trial) OnRejection(f func(reason string)) {}
