package simulation

// reapFaults are mistakes in internal/reap.
var reapFaults = []plantedFault{
	{
		"it is never late enough for another process to have the PID", "internal/reap", "internal/reap/identity.go",
		"if id.vouched || s.table.Now() == s.imageStart {", "if id.vouched || s.table.Now() != 0 {", 2000,
	},
	{
		"a PID belongs to its first child for ever", "internal/reap", "internal/reap/identity.go",
		"return stat.Start <= s.imageStart, nil", "return true, nil", 2000,
	},
	{
		"EMFILE at pidfd_open is taken as final", "internal/reap", "internal/reap/descriptors.go",
		"return nil, err == os.ErrProcessDone", "r.pidfds = false\n\t\treturn nil, err == os.ErrProcessDone", 2000,
	},
	{
		"a list that can't be read now is taken for none", "internal/reap", "internal/reap/classify.go",
		"l.unread = mayPass(err)", "l.unread = false", 2000,
	},
	{
		"an announced exit is forgotten if the wait comes too early", "internal/reap", "internal/reap/run.go",
		"if c != nil && !r.reap(c) {\n\t\tr.lookAgain(c)\n\t}", "if c != nil {\n\t\tr.reap(c)\n\t}", 2000,
	},
	{
		"an adopted child is also a Reaper's", "internal/reap", "internal/reap/snapshot.go",
		"s.free = slices.Concat(s.free[:i], s.free[i+1:])", "", 2000,
	},
	{
		"a stopped child is not continued", "internal/reap", "internal/reap/run.go",
		"sig != syscall.SIGKILL && c.mayBeStopped()", "sig == syscall.SIGKILL && c.mayBeStopped()", 2000,
	},
	{
		"a step of the escalation counts from the beginning", "internal/reap", "internal/reap/escalation.go",
		"e.steps, e.last = e.steps[1:], now", "e.steps = e.steps[1:]", 2000,
	},
	{
		"the pidfd of a child that is gone stays open", "internal/reap", "internal/reap/run.go",
		"delete(r.stuck, c.pid)\n\tc.release()", "delete(r.stuck, c.pid)", 2000,
	},
	{
		"a pidfd is not looked at after it was opened", "internal/reap", "internal/reap/descriptors.go",
		"err == nil && state != Exited {", "err == nil && state == NotOurs {", 2000,
	},
}
