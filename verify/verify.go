// Package verify contains functions for the field Verify of [autorestart.Restarter], which
// check a new version before it replaces the running one. [Run] tries it in a child
// process, and [Signature] checks its signature. The package is separate because it imports
// more than package autorestart.
package verify

import (
	"context"
	"os"
)

// A Func is a value for the field Verify. It returns nil to accept the version that is
// open in exe, and an error to reject it. It must read exe by ReadAt, so that several
// functions can read the same file.
type Func = func(ctx context.Context, exe *os.File) error

// All returns a Func that accepts a version if each of the functions accepts it. It calls
// them in turn, and returns the first error.
func All(funcs ...Func) Func {
	return func(ctx context.Context, exe *os.File) error {
		for _, f := range funcs {
			if err := f(ctx, exe); err != nil {
				return err
			}
		}
		return nil
	}
}
