// Package inspect finds the processes that run an executable, and has a file judged as each of them
// would judge it in place of that executable: by package candidate, with the credentials of the
// process and the files as the process sees them.
//
// The judge is a process of its own, which gives up its rights for those of the other. It is this
// program, executed again: see [Judge].
package inspect

import "github.com/autorestart-go/autorestart/internal/candidate"

// A Verdict says what a process would do with a file at the path of its executable.
type Verdict struct {
	Rejection *candidate.Rejection // nil if the file is accepted
	Same      bool                 // the content is that of the running image: there is nothing to execute
}

// A Report is the verdict of processes that can't differ in it.
type Report struct {
	PIDs []int // none if no process runs the executable: the verdict is that of one with the rights of this process
	Verdict
	Err error // why there is no verdict
}
