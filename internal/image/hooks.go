package image

// OnStep has f called with each step of a restart of this image, and when it has become ready and
// healthy: with the text of an autorestart.EventKind, and the error of the event. f may be called under
// a lock, and returns soon. "draining" is reported once, as it begins; unless an exec follows,
// "rejected" is. A rollback reports "rolling back", and "rollback failed" unless an exec follows. RestartOnChange, and a Restarter whose Run was called before OnStep, report no
// other steps before the exec than "draining", "restarting" and "rejected", and one rejection again and
// again.
func (i *Image) OnStep(f func(step string, err error)) {
	before := i.onStep.Load()
	both := func(step string, err error) {
		if before != nil {
			(*before)(step, err)
		}
		f(step, err)
	}
	i.onStep.Store(&both)
}

// Reports reports whether OnStep was called.
func (i *Image) Reports() bool { return i.onStep.Load() != nil }

// Report calls what OnStep has registered.
func (i *Image) Report(step string, err error) {
	if f := i.onStep.Load(); f != nil {
		(*f)(step, err)
	}
}

// IsReplaced reports whether a restart is under way, also where nothing is drained, or the drain of a rollback. A step
// "rejected" is then about another version.
func (i *Image) IsReplaced() bool { return i.Restarts.Load() || i.Drainers.IsDraining() }

// BeforeReady is called by the first call of Ready. If it returns false, that call does nothing. It is
// a hook of package autorestarttest/agent, which is in the daemon of a test and nowhere else, and sets
// it before main runs. In any other program it is nil.
var BeforeReady func() bool
