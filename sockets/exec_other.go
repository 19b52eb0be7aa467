//go:build !unix

package sockets

import (
	"errors"
	"math"
	"os"
	"syscall"
)

// hasExec is false where there is no exec that sockets could cross, and no systemd.
// The functions in this file are not called.
const hasExec = false

func networkAndAddress(int) (network, local string, err error) {
	return "", "", errors.ErrUnsupported
}

// A table that Windows or Plan 9 limit is none that an exec needs.
func openFilesLimit() int                    { return math.MaxInt }
func descriptorOf(syscall.Conn) (int, error) { return 0, errors.ErrUnsupported }
func lowestFree(syscall.Conn) (int, error)   { return 0, errors.ErrUnsupported }

func isShutDown(*os.File) bool { return false }

func withDescriptor(syscall.Conn, func(fd int)) error { return errors.ErrUnsupported }

func setNonblock(*os.File, bool) {}
