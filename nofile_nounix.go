//go:build !unix

package autorestart

// lowerOpenFilesLimit has no limit to care for here.
func lowerOpenFilesLimit() (restore func()) { return func() {} }
