package sockets

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// packetSocket is a [*net.UDPConn] or a [*net.UnixConn].
type packetSocket interface {
	net.PacketConn
	File() (*os.File, error)
	SyscallConn() (syscall.RawConn, error)
}

func newPacketConn(s packetSocket, k key) net.PacketConn {
	p := &packets{tenure: tenure{gate: gate{arm: s.SetReadDeadline}, key: k}, socket: s}
	p.begin(restingPackets{p})
	switch s := s.(type) {
	case *net.UDPConn:
		return &udpConn{s, p}
	case *net.UnixConn:
		return &unixgramConn{s, p}
	}
	panic("unreachable") // package net has no others for these networks
}

// packets stands before everything that reads from a packet connection:
//
//	for epoch := p.next(); ; epoch = p.enter() {
//		… err = read()
//		if !p.took(epoch, err) {
//			return … err
//		}
//	}
type packets struct {
	tenure
	socket   packetSocket
	handedTo int // readers who have not come back for the next packet
}

// next is [gate.enter] for a reader who is done with the packet before.
func (p *packets) next() (epoch uint) {
	p.mu.Lock()
	if p.handedTo > 0 {
		p.handedTo--
		p.broadcast()
	}
	p.mu.Unlock()
	return p.enter()
}

// took reports whether the read is to be done again.
func (p *packets) took(epoch uint, err error) (again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && !p.closed {
		p.handedTo++
	}
	return p.leave(epoch, err)
}

func (p *packets) setDeadline(t time.Time) error {
	if err := p.socket.SetWriteDeadline(t); err != nil {
		return err
	}
	return p.gate.setDeadline(t)
}

func (p *packets) close() error {
	err := p.tenure.close(p.socket)
	p.over()
	return err
}

// restingPackets are packets as an [autorestart.Drainer].
type restingPackets struct{ *packets }

func (p restingPackets) Quiesce() { p.shut() }

func (p restingPackets) Drain(ctx context.Context) error {
	if err := p.await(ctx, func() bool { return p.closed || p.inside == 0 && p.handedTo == 0 }); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("%d packets of %s %s are not done with: %w", p.handedTo, p.key.network, p.socket.LocalAddr(), err)
	}
	return nil
}

func (p restingPackets) Resume() {
	p.resume()
	p.over()
}

type udpConn struct {
	*net.UDPConn
	p *packets
}

func (c *udpConn) Close() error                      { return c.p.close() }
func (c *udpConn) SetDeadline(t time.Time) error     { return c.p.setDeadline(t) }
func (c *udpConn) SetReadDeadline(t time.Time) error { return c.p.gate.setDeadline(t) }

func (c *udpConn) SyscallConn() (syscall.RawConn, error) { return c.p.syscallConn() }

func (c *udpConn) Read(b []byte) (n int, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, err = c.UDPConn.Read(b)
		if !c.p.took(epoch, err) {
			return n, err
		}
	}
}

func (c *udpConn) ReadFrom(b []byte) (n int, addr net.Addr, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, addr, err = c.UDPConn.ReadFrom(b)
		if !c.p.took(epoch, err) {
			return n, addr, err
		}
	}
}

func (c *udpConn) ReadFromUDP(b []byte) (n int, addr *net.UDPAddr, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, addr, err = c.UDPConn.ReadFromUDP(b)
		if !c.p.took(epoch, err) {
			return n, addr, err
		}
	}
}

func (c *udpConn) ReadFromUDPAddrPort(b []byte) (n int, addr netip.AddrPort, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, addr, err = c.UDPConn.ReadFromUDPAddrPort(b)
		if !c.p.took(epoch, err) {
			return n, addr, err
		}
	}
}

func (c *udpConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, oobn, flags, addr, err = c.UDPConn.ReadMsgUDP(b, oob)
		if !c.p.took(epoch, err) {
			return n, oobn, flags, addr, err
		}
	}
}

func (c *udpConn) ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, oobn, flags, addr, err = c.UDPConn.ReadMsgUDPAddrPort(b, oob)
		if !c.p.took(epoch, err) {
			return n, oobn, flags, addr, err
		}
	}
}

type unixgramConn struct {
	*net.UnixConn
	p *packets
}

func (c *unixgramConn) Close() error                      { return c.p.close() }
func (c *unixgramConn) SetDeadline(t time.Time) error     { return c.p.setDeadline(t) }
func (c *unixgramConn) SetReadDeadline(t time.Time) error { return c.p.gate.setDeadline(t) }

func (c *unixgramConn) SyscallConn() (syscall.RawConn, error) { return c.p.syscallConn() }

func (c *unixgramConn) Read(b []byte) (n int, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, err = c.UnixConn.Read(b)
		if !c.p.took(epoch, err) {
			return n, err
		}
	}
}

func (c *unixgramConn) ReadFrom(b []byte) (n int, addr net.Addr, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, addr, err = c.UnixConn.ReadFrom(b)
		if !c.p.took(epoch, err) {
			return n, addr, err
		}
	}
}

func (c *unixgramConn) ReadFromUnix(b []byte) (n int, addr *net.UnixAddr, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, addr, err = c.UnixConn.ReadFromUnix(b)
		if !c.p.took(epoch, err) {
			return n, addr, err
		}
	}
}

func (c *unixgramConn) ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		n, oobn, flags, addr, err = c.UnixConn.ReadMsgUnix(b, oob)
		if !c.p.took(epoch, err) {
			return n, oobn, flags, addr, err
		}
	}
}

// rawConn has those wait who read by system calls of their own, as recvmmsg(2).
type rawConn struct {
	syscall.RawConn
	p *packets
}

func (p *packets) syscallConn() (syscall.RawConn, error) {
	conn, err := p.socket.SyscallConn()
	return &rawConn{conn, p}, err
}

func (c *rawConn) Read(f func(fd uintptr) (done bool)) error {
	for epoch := c.p.next(); ; epoch = c.p.enter() {
		if err := c.RawConn.Read(f); !c.p.took(epoch, err) {
			return err
		}
	}
}
