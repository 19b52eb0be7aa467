//go:build !unix

package rawsys

import "errors"

// No descriptor crosses: there is no exec.

// CloseOnExec does nothing.
func CloseOnExec(int) {}

// KeepOnExec fails.
func KeepOnExec(int) (was bool, err error) { return false, errors.ErrUnsupported }

// Close does nothing.
func Close(int) {}

// Crossed reports that fd has not.
func Crossed(fd int) bool { return false }
