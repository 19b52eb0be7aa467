//go:build !autorestart_portable

// Filters of sockets.
//
//	call                    since    without it
//	SO_ATTACH_FILTER        2.2      IP_MINTTL, IPV6_MINHOPCOUNT
//	IP_MINTTL               2.6.34   a handshake that is under way when the socket is closed fails
//	IPV6_MINHOPCOUNT        2.6.35   the same
//
// No socket of Multipath TCP takes a filter. A process without privileges may be denied one
// (EPERM), as by a Linux 6.18.

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

// dropSYN has the listening socket fd take part in no new handshake. Those under way go on. undo
// is for fd, and for the connections that it has accepted meanwhile: they inherit the options.
func dropSYN(fd int) (undo func(fd int)) {
	if domain, _ := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_DOMAIN); domain == syscall.AF_UNIX {
		return func(int) {}
	}
	program := unsafe.String((*byte)(unsafe.Pointer(&synProgram)), unsafe.Sizeof(synProgram))
	if syscall.SetsockoptString(fd, syscall.SOL_SOCKET, syscall.SO_ATTACH_FILTER, program) == nil {
		return func(fd int) { syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_DETACH_FILTER, 0) }
	}
	return dropByTTL(fd)
}

// hopLimits are the least TTL of a segment that a socket takes. That of a connection request
// is looked at in the listening socket, that of the end of a handshake is not.
var hopLimits = [...]struct{ level, option int }{
	{syscall.IPPROTO_IP, 21},   // IP_MINTTL
	{syscall.IPPROTO_IPV6, 73}, // IPV6_MINHOPCOUNT
}

// dropByTTL is dropSYN without a filter. Clients that send with the highest TTL get through. A
// connection loses what its client sends before undo, and gets it again after a fifth of a second.
func dropByTTL(fd int) (undo func(fd int)) {
	const highest = 255
	var before [len(hopLimits)]int
	for i, limit := range hopLimits {
		before[i], _ = syscall.GetsockoptInt(fd, limit.level, limit.option)
		syscall.SetsockoptInt(fd, limit.level, limit.option, highest)
	}
	return func(fd int) {
		for i, limit := range hopLimits {
			syscall.SetsockoptInt(fd, limit.level, limit.option, before[i])
		}
	}
}
