package sockets

import "syscall"

var moreConnectionErrors = []syscall.Errno{syscall.ENONET}
