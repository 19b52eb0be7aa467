//go:build !linux || autorestart_portable

package handover

import "errors"

// CanReturn says that no version can be taken back on this system: an image can
// only be executed by its path, and that leads to the next one.
const CanReturn = false

// ErrNoRollback answers who wants to go back where there is nothing to go back
// to.
var ErrNoRollback = errors.New("autorestart: this version is not on probation")

func (h *Handover) startProbation() {}

// Back is never called.
var Back func(target string, args, env []string, h *Handover) error

// OnProbation reports that this image can't be taken back.
func OnProbation() bool { return false }

// KeepWayBack has none to keep.
func (h *Handover) KeepWayBack() error { return ErrNoRollback }

// Forget has nothing to forget.
func Forget(kind, n int) {}

// EndProbation says that this image works.
func EndProbation() {}

// Return fails.
func Return(string) error { return ErrNoRollback }
