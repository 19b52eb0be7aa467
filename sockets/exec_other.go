//go:build !unix

package sockets

import (
	"errors"
	"os"
)

// hasExec is false where there is no exec that sockets could cross, and no systemd.
// The functions in this file are not called.
const hasExec = false

func networkAndAddress(int) (network, local string, err error) {
	return "", "", errors.ErrUnsupported
}

func setNonblock(*os.File, bool) {}
func isPlaceholder(int) bool     { return false }
