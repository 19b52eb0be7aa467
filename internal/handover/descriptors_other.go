//go:build !unix

package handover

// Nothing crosses: there is no exec.

func closeOnExec(int) {}
func keepOnExec(int)  {}
