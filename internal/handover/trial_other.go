//go:build !linux || autorestart_portable

package handover

import "time"

// CanRollBack says that no version can be rolled back on this system: an image can
// only be executed by its path, and that leads to the next one.
const CanRollBack = false

// OnRollback does nothing: no version is rolled back.
func OnRollback(Executor) {}

func (s *State) startTrial() {}

// OnTrial reports that this image can't be rolled back.
func OnTrial() bool { return false }

// KeepRollback returns [ErrNotOnTrial].
func (s *State) KeepRollback() ([]int, error) { return nil, ErrNotOnTrial }

// PutBackOnRollback returns false: nothing crosses back.
func PutBackOnRollback(fd, number int, nonblocking bool) bool { return false }

// BecomeReady returns 0: no image is on trial.
func BecomeReady() (healthWithin time.Duration) { return 0 }

// RollBackUnhealthy does nothing.
func RollBackUnhealthy(string) {}

// EndTrial does nothing: no image is on trial.
func EndTrial() {}

// RollBack returns [ErrNotOnTrial].
func RollBack(string) error { return ErrNotOnTrial }
