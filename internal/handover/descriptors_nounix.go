//go:build !unix

package handover

// No descriptor crosses: there is no exec.

func closeOnExec(int) {}
func keepOnExec(int)  {}

func closeDescriptor(int) {}

func crossed(int) bool { return false }
