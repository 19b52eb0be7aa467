//go:build !linux || autorestart_portable

package handover

import (
	"time"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// CanRollBack says that no version can be rolled back on this system: an image can
// only be executed by its path, and that leads to the next one.
const CanRollBack = false

// A Trial is that of one image, which can't be rolled back.
type Trial struct{}

// OnRollback does nothing: no version is rolled back.
func (*Trial) OnRollback(Executor) {}

// Start closes what a rollback would need: the previous image may be able to execute it.
func (*Trial) Start(s *State) {
	for _, kind := range [...]NumberKind{Previous, Dir} {
		for _, fd := range s.Numbers[kind] {
			rawsys.Close(fd)
		}
	}
}

// On reports that the image can't be rolled back.
func (*Trial) On() bool { return false }

// Keep returns [ErrNotOnTrial].
func (*Trial) Keep(*State) ([]int, error) { return nil, ErrNotOnTrial }

// PreviousStart returns nothing: there is no previous image.
func (*Trial) PreviousStart() (args, env []string) { return nil, nil }

// PutBack returns false: nothing crosses back.
func (*Trial) PutBack(fd, number int, nonblocking bool) bool { return false }

// BecomeReady returns 0: no image is on trial.
func (*Trial) BecomeReady() (healthWithin time.Duration) { return 0 }

// RollBackUnhealthy does nothing.
func (*Trial) RollBackUnhealthy(string) {}

// End does nothing: no image is on trial.
func (*Trial) End() {}

// RollBack returns [ErrNotOnTrial].
func (*Trial) RollBack(string) error { return ErrNotOnTrial }
