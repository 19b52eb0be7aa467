package sockets

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// packetSocket is a [*net.UDPConn] or a [*net.UnixConn].
type packetSocket interface {
	net.PacketConn
	Read(b []byte) (int, error)
	File() (*os.File, error)
	SyscallConn() (syscall.RawConn, error)
}

// udpConn and unixgramConn embed the connections of package net one level deeper than
// packets, whose methods of the same name therefore win. They add the methods that
// only one of the two has.

type udpConn struct {
	*packets
	embeddedUDP
}

type unixgramConn struct {
	*packets
	embeddedUnix
}

type embeddedUDP struct{ *net.UDPConn }

// newPacketConn makes a packet connection of a socket with the key k. The previous version passed
// it under oldKey, which is zero for a new socket.
func newPacketConn(r *registry, s packetSocket, k, oldKey key, c *Config) net.PacketConn {
	p := &packets{
		registration: newRegistration(r, k, oldKey != key{}, s.SetReadDeadline, c),
		socket:       s,
		keeping:      keeping{keepPacket: c.KeepPacket},
	}
	p.inheritKept(oldKey)
	r.addPackets(p)
	p.drainer = packetsDrainer{p}
	remove := r.beforeExec(p.seal)
	unregister := r.registerDrainer(p.drainer)
	p.unregister = func() {
		unregister()
		remove()
	}
	switch s := s.(type) {
	case *net.UDPConn:
		conn := &udpConn{p, embeddedUDP{s}}
		if c.KeepPacket != nil {
			return &keepingConn{conn, withoutReadMsgUDP{}}
		}
		return conn
	case *net.UnixConn:
		return &unixgramConn{p, embeddedUnix{s}}
	}
	panic("unreachable") // package net has no others for these networks
}

// packets stands before everything that reads from a packet connection.
type packets struct {
	registration
	socket  packetSocket
	readers readers
	keeping
}

// read makes a read call with a buffer, nil if that is not known. It makes the call again
// after a hold.
func (p *packets) read(buffer []byte, call func() error) error {
	p.mu.Lock()
	if p.readers.begin(buffer) {
		p.wakeUp()
	}
	p.mu.Unlock()
	for {
		epoch := p.enter()
		err := call()
		p.mu.Lock()
		again := p.leave(epoch, err) || err == errKept
		if p.ended && !p.closed && err != nil {
			// Only a deadline lets callers in.
			local := p.socket.LocalAddr()
			err = &net.OpError{Op: "read", Net: local.Network(), Addr: local, Err: os.ErrDeadlineExceeded}
			again = !expired(p.deadline)
		}
		if !again && !p.closed {
			p.readers.end(buffer, err)
		}
		p.mu.Unlock()
		if !again {
			return err
		}
	}
}

func (c *unixgramConn) Read(b []byte) (n int, err error) {
	err = c.read(b, func() (err error) {
		n, err = c.UnixConn.Read(b)
		return err
	})
	return n, err
}

func (c *unixgramConn) ReadFrom(b []byte) (n int, addr net.Addr, err error) {
	err = c.read(b, func() (err error) {
		n, addr, err = c.UnixConn.ReadFrom(b)
		return err
	})
	return n, addr, err
}

func (c *unixgramConn) ReadFromUnix(b []byte) (n int, addr *net.UnixAddr, err error) {
	err = c.read(b, func() (err error) {
		n, addr, err = c.UnixConn.ReadFromUnix(b)
		return err
	})
	return n, addr, err
}

func (c *unixgramConn) ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	err = c.read(b, func() (err error) {
		n, oobn, flags, addr, err = c.UnixConn.ReadMsgUnix(b, oob)
		return err
	})
	return n, oobn, flags, addr, err
}

// rawConn is for callers that read by system calls of their own, as recvmmsg(2).
type rawConn struct {
	syscall.RawConn
	p *packets
}

func (p *packets) SyscallConn() (syscall.RawConn, error) {
	conn, err := p.socket.SyscallConn()
	return &rawConn{conn, p}, err
}

func (c *rawConn) Read(f func(fd uintptr) (done bool)) error {
	if c.p.keepPacket != nil {
		local := c.p.socket.LocalAddr()
		return &net.OpError{Op: "raw-read", Net: local.Network(), Source: local, Err: errRawRead}
	}
	return c.p.read(nil, func() error {
		c.p.forgetKept()
		return c.RawConn.Read(f)
	})
}

func (p *packets) SetReadDeadline(t time.Time) error { return p.setDeadline(t) }

func (p *packets) SetDeadline(t time.Time) error {
	if err := p.socket.SetWriteDeadline(t); err != nil {
		return err
	}
	return p.setDeadline(t)
}

func (p *packets) Close() error {
	err := p.close(p.socket)
	p.registry.removePackets(p)
	p.closeKept()
	p.unregisterIfClosed()
	return err
}

// packetsDrainer is a packet connection as an [autorestart.Drainer].
type packetsDrainer struct{ *packets }

func (p packetsDrainer) DrainOrder() int { return p.order }

// Quiesce has the readers wait, unless this version goes on reading in the drain. Where another
// process reads, it does not, nor where reads can't be interrupted before the exec.
func (p packetsDrainer) Quiesce() {
	nonblocking := p.beginKeeping()
	serves := p.registry.Beside.Serves()
	if p.keepPacket != nil && !serves && nonblocking {
		p.mu.Lock()
		p.reading = true
		p.mu.Unlock()
		return
	}
	p.holdAndWait()
	if serves {
		p.muting.mute(p.socket)
	}
}

func (p packetsDrainer) Drain(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reading {
		return nil // a Drainer of the program knows what is left to do
	}
	for !p.closed && (p.inside > 0 || p.readers.settle() > 0) {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", p.handled(), context.Cause(ctx))
		}
		p.wait(ctx.Done(), p.readers.doubtEnds())
	}
	return nil
}

// Unfinished says what Drain waits for.
func (p packetsDrainer) Unfinished() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handled()
}

func (p packetsDrainer) handled() string {
	if p.reading {
		return ""
	}
	return p.unfinished(p.readers.handling, "packet", p.socket.LocalAddr())
}

func (p packetsDrainer) Resume() {
	p.muting.unmute(p.socket)
	p.resume()
	p.endKeeping()
	p.unregisterIfClosed()
}
