//go:build !unix

package handover

import "errors"

// No descriptor crosses: there is no exec.

func closeOnExec(int) {}

func keepOnExec(int) (was bool, err error) { return false, errors.ErrUnsupported }

func closeDescriptor(int) {}

func crossed(int) bool { return false }
