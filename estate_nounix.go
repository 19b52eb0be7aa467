//go:build !unix

package autorestart

import (
	"errors"
	"os"
)

// Nothing can be passed on where there is no exec.

func duplicate(*os.File) (int, error)    { return -1, errors.ErrUnsupported }
func duplicateFD(int) (int, error)       { return -1, errors.ErrUnsupported }
func closeDescriptor(int)                {}
func newMemoryFile([]byte) (int, error)  { return 0, errors.ErrUnsupported }
func readMemoryFile(int) ([]byte, error) { return nil, errors.ErrUnsupported }
