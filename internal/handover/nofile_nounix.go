//go:build !unix

package handover

// lowerOpenFilesLimit does nothing: there is no exec.
func lowerOpenFilesLimit() (restore func()) { return func() {} }
