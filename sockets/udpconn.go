package sockets

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// received is the result of a read from a UDP socket.
type received struct {
	n, oobn, flags int
	from           netip.AddrPort
}

// receive returns a packet that was kept, or the next one that call reads into b and oob.
func (c *udpConn) receive(b, oob []byte, call func() (received, error)) (r received, err error) {
	err = c.read(b, func() (err error) {
		if packet, ok := c.nextKept(); ok {
			r = received{n: copy(b, packet.data), oobn: copy(oob, packet.oob), from: packet.from}
			return nil
		}
		if r, err = call(); err != nil || c.keepPacket == nil {
			return err
		}
		return c.judge(keptPacket{r.from, b[:r.n], oob[:r.oobn]})
	})
	return r, err
}

// receiveFrom is receive without control messages.
func (c *udpConn) receiveFrom(b []byte) (received, error) {
	return c.receive(b, nil, func() (r received, err error) {
		r.n, r.from, err = c.UDPConn.ReadFromUDPAddrPort(b)
		return r, err
	})
}

// receiveMsg is receive with control messages.
func (c *udpConn) receiveMsg(b, oob []byte) (received, error) {
	return c.receive(b, oob, func() (r received, err error) {
		r.n, r.oobn, r.flags, r.from, err = c.UDPConn.ReadMsgUDPAddrPort(b, oob)
		return r, err
	})
}

func (r received) addr() *net.UDPAddr {
	if !r.from.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(r.from)
}

func (c *udpConn) Read(b []byte) (int, error) {
	r, err := c.receiveFrom(b)
	return r.n, err
}

func (c *udpConn) ReadFrom(b []byte) (int, net.Addr, error) {
	r, err := c.receiveFrom(b)
	if err != nil {
		return r.n, nil, err
	}
	return r.n, r.addr(), nil
}

func (c *udpConn) ReadFromUDP(b []byte) (n int, addr *net.UDPAddr, err error) {
	r, err := c.receiveFrom(b)
	return r.n, r.addr(), err
}

func (c *udpConn) ReadFromUDPAddrPort(b []byte) (n int, addr netip.AddrPort, err error) {
	r, err := c.receiveFrom(b)
	return r.n, r.from, err
}

func (c *udpConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	r, err := c.receiveMsg(b, oob)
	return r.n, r.oobn, r.flags, r.addr(), err
}

func (c *udpConn) ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	r, err := c.receiveMsg(b, oob)
	return r.n, r.oobn, r.flags, r.from, err
}

// A keepingConn is a udpConn with [Config.KeepPacket]. Packages such as golang.org/x/net/ipv4 read
// by system calls of their own from whatever has the methods SyscallConn and ReadMsgUDP. They would
// bypass KeepPacket. So this connection lacks ReadMsgUDP: two embedded fields have it, and then Go
// promotes neither.
type keepingConn struct {
	*udpConn
	withoutReadMsgUDP
}

type withoutReadMsgUDP struct{}

func (withoutReadMsgUDP) ReadMsgUDP() {}

// errRawRead is returned by Read of package syscall's RawConn.
var errRawRead = fmt.Errorf("KeepPacket needs the read methods of the connection: %w", errors.ErrUnsupported)
