//go:build unix

package sockets

import "syscall"

// inheritance says that sockets can cross an exec.
const inheritance = true

const errRefused = syscall.ECONNREFUSED
