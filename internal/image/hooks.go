package image

import "github.com/autorestart-go/autorestart/internal/step"

// OnStep has f called with each step of a restart of this image, when the image has become ready and healthy,
// and with the steps of its rollback; err is that of the autorestart.Event, or a [*step.Rejection] of it. f may be called under a lock, and
// returns soon. After [step.Draining] or [step.StandInServes] comes an exec or [step.Rejected], and after
// [step.RollingBack] an exec or [step.RollbackFailed]. RestartOnChange, and a Restarter whose Run was called
// before OnStep, report no other steps before the exec than Draining, [step.Restarting] and Rejected, and one
// rejection again and again.
func (i *Image) OnStep(f func(kind step.Kind, err error)) {
	before := i.onStep.Load()
	both := func(kind step.Kind, err error) {
		if before != nil {
			(*before)(kind, err)
		}
		f(kind, err)
	}
	i.onStep.Store(&both)
}

// Reports reports whether OnStep was called.
func (i *Image) Reports() bool { return i.onStep.Load() != nil }

// Report calls what OnStep has registered.
func (i *Image) Report(kind step.Kind, err error) {
	switch kind {
	case step.RollingBack:
		i.rollsBack.Store(true)
	case step.RollbackFailed:
		i.rollsBack.Store(false)
	}
	if f := i.onStep.Load(); f != nil {
		(*f)(kind, err)
	}
}

// IsReplaced reports whether a restart or a rollback is under way, also if nothing is drained. [step.Rejected] is then
// about another version.
func (i *Image) IsReplaced() bool {
	return i.Restarts.Load() || i.rollsBack.Load() || i.Drainers.IsDraining()
}

// BeforeReady is called by the first call of Ready. If it returns false, that call does nothing. It is
// a hook of package autorestarttest/agent, which is in the daemon of a test and nowhere else, and sets
// it before main runs. In any other program it is nil.
var BeforeReady func() bool
