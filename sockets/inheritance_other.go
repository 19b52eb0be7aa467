//go:build !unix

package sockets

import "errors"

// inheritance says that there is no exec that sockets could cross.
const inheritance = false

var errRefused = errors.ErrUnsupported
