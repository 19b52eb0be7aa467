package image

// Hooks of package autorestarttest/agent, which is in the daemon of a test and nowhere else. They
// are nil in any other program. They are set before main runs, and return soon.
var (
	// OnStep is called with each step of a restart, as the text of an autorestart.EventKind, and
	// with the error of its event. It may be called under a lock.
	OnStep func(step string, err error)

	// BeforeReady is called by the first call of Ready. If it returns false, that call does nothing.
	BeforeReady func() bool
)
