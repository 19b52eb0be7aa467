//go:build unix

package sockets

import (
	"cmp"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// hasExec is true where sockets can cross an exec.
const hasExec = true

var (
	errUnknownSocket = errors.New("not a TCP, UDP or Unix socket")
	errNotListening  = errors.New("a socket that does not listen")
)

// networkAndAddress returns those of the socket fd. It asks the kernel alone: unlike
// [net.FileListener] it leaves the socket as it is, blocking or not.
func networkAndAddress(fd int) (network, local string, err error) {
	typ, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil {
		return "", "", os.NewSyscallError("getsockopt", err)
	}
	if typ != syscall.SOCK_DGRAM {
		// A connection, as with Accept=yes in systemd.socket(5), has an address, too.
		if listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); err != nil || listens == 0 {
			return "", "", errNotListening
		}
	}
	addr, err := syscall.Getsockname(fd)
	if err != nil {
		return "", "", os.NewSyscallError("getsockname", err)
	}
	families := ipNetworks
	switch addr := addr.(type) {
	case *syscall.SockaddrInet4:
		local = netip.AddrPortFrom(netip.AddrFrom4(addr.Addr), uint16(addr.Port)).String()
	case *syscall.SockaddrInet6:
		ip := netip.AddrFrom16(addr.Addr).Unmap().WithZone(zone(addr.ZoneId))
		local = netip.AddrPortFrom(ip, uint16(addr.Port)).String()
	case *syscall.SockaddrUnix:
		local, families = addr.Name, unixNetworks
	}
	if network = families[typ]; network == "" || addr == nil {
		return "", "", errUnknownSocket
	}
	return network, local, nil
}

// Networks of package net, by the type of the socket.
var (
	ipNetworks   = map[int]string{syscall.SOCK_STREAM: "tcp", syscall.SOCK_DGRAM: "udp"}
	unixNetworks = map[int]string{
		syscall.SOCK_STREAM: "unix", syscall.SOCK_DGRAM: "unixgram", syscall.SOCK_SEQPACKET: "unixpacket",
	}
)

// zone returns the zone of an IPv6 address as package net names it.
func zone(id uint32) string {
	if id == 0 {
		return ""
	}
	if ifi, err := net.InterfaceByIndex(int(id)); err == nil {
		return ifi.Name
	}
	return strconv.FormatUint(uint64(id), 10)
}

// openFilesLimit returns the soft RLIMIT_NOFILE, see getrlimit(2).
func openFilesLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}

// descriptorOf returns the number of the descriptor.
func descriptorOf(conn syscall.Conn) (fd int, err error) {
	err = withDescriptor(conn, func(own int) { fd = own })
	return fd, err
}

// lowestFree returns the lowest number above the standard streams that is free: that of a
// duplicate.
func lowestFree(conn syscall.Conn) (fd int, err error) {
	ctl := withDescriptor(conn, func(own int) {
		var duplicate *sys.FD
		if duplicate, err = sys.Duplicate(own); err == nil {
			fd = duplicate.Int()
			duplicate.Close()
		}
	})
	return fd, cmp.Or(ctl, err)
}

// isShutDown reports whether a listener was shut down by shutdown(2) or `ss --kill`. It never listens again,
// and a store of systemd would keep it over all crashes.
func isShutDown(f *os.File) (isShutDown bool) {
	withDescriptor(f, func(fd int) { isShutDown = sys.HasHungUp(fd) })
	return isShutDown
}

// withDescriptor calls f with the descriptor, which stays open meanwhile.
func withDescriptor(conn syscall.Conn, f func(fd int)) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// setNonblock sets or clears O_NONBLOCK, which f shares with its duplicates.
func setNonblock(f *os.File, nonblocking bool) {
	if conn, err := f.SyscallConn(); err == nil {
		conn.Control(func(fd uintptr) { syscall.SetNonblock(int(fd), nonblocking) })
	}
}
