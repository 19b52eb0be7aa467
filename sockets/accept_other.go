//go:build !linux

package sockets

import "syscall"

var moreConnectionErrors []syscall.Errno
