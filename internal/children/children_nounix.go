//go:build !unix

// Package children is the table of children of a system that has no pidfds. This system is not Unix: no
// image can be executed in place of another, so none leaves children to the next.
package children

import "github.com/autorestart-go/autorestart/internal/reap"

// A Table is a [reap.Table] that can do nothing. In children_unix.go are the methods of one on
// a Unix system:
//   - Wait and WaitAny wrap wait4(2)
//   - Kill wraps kill(2)
//   - NotifyExits subscribes to SIGCHLD.
//
// Here they return errors that wrap [errors.ErrUnsupported].
type Table struct{ reap.Unsupported }
