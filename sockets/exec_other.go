//go:build !unix

package sockets

import "errors"

// hasExec says that there is no exec that sockets could cross. So systemd can't have
// started this process either.
const hasExec = false

func adoptSocket(int) error { return errors.ErrUnsupported }
