//go:build unix && !linux

package handover

import "golang.org/x/sys/unix"

func closeOnExec(fd int) { unix.CloseOnExec(fd) }

func keepOnExec(fd int) { unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0) }
