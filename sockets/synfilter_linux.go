//go:build !autorestart_portable

// Filters of sockets.
//
//	call                    since    without it
//	SO_ATTACH_FILTER        2.2      a handshake that is under way when the socket is closed fails
//
// No socket of Multipath TCP takes a filter. Linux 6.18 refused one to a process without
// privileges (EPERM).

package sockets

import (
	"syscall"
	"unsafe"
)

// synFilter is a classic BPF program. It drops segments that ask for a connection: those with
// SYN and without ACK. The data of a TCP socket's filter begins with the TCP header.
var synFilter = [...]syscall.SockFilter{
	{Code: syscall.BPF_LD | syscall.BPF_B | syscall.BPF_ABS, K: 13}, // flags
	{Code: syscall.BPF_ALU | syscall.BPF_AND | syscall.BPF_K, K: synFlag | ackFlag},
	{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, K: synFlag, Jf: 1},
	{Code: syscall.BPF_RET | syscall.BPF_K, K: 0},          // drop
	{Code: syscall.BPF_RET | syscall.BPF_K, K: ^uint32(0)}, // keep
}

const synFlag, ackFlag = 0x02, 0x10

var synProgram = syscall.SockFprog{Len: uint16(len(synFilter)), Filter: &synFilter[0]}

// dropSYN has the listening socket fd take part in no new handshake. Those under way go on.
func dropSYN(fd int) {
	if domain, _ := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_DOMAIN); domain == syscall.AF_UNIX {
		return
	}
	program := unsafe.String((*byte)(unsafe.Pointer(&synProgram)), unsafe.Sizeof(synProgram))
	syscall.SetsockoptString(fd, syscall.SOL_SOCKET, syscall.SO_ATTACH_FILTER, program)
}

// acceptSYN undoes dropSYN. Connections have the filter of their listener, too.
func acceptSYN(fd int) { syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_DETACH_FILTER, 0) }
