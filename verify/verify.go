// Package verify has functions for the field Verify of
// [autorestart.Restarter]: tests that a new version has to pass before it is
// executed. They are in a package of their own because of what they import.
package verify

import (
	"context"
	"os"
)

// A Func is what the field Verify takes: it returns nil to accept the version
// that is open in exe. It reads by ReadAt, so that several can follow one another.
type Func = func(ctx context.Context, exe *os.File) error

// All accepts what each of the functions accepts. They are called in turn, up to
// the first that refuses.
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
