//go:build !unix

package sockets

import "errors"

// hasExec is false where there is no exec that sockets could cross, and no systemd.
const hasExec = false

// adoptSocket is not called.
func adoptSocket(int) error { return errors.ErrUnsupported }
