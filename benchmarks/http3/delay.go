//go:build linux

package http3

import (
	"net"
	"sync"
	"time"
)

// A distantConn is a packet connection whose packets are under way for a while.
type distantConn struct {
	net.PacketConn
	sent, received chan datagram
	closing        chan struct{}
	once           sync.Once
}

// A datagram is delivered when it is due.
type datagram struct {
	due  time.Time
	data []byte
	addr net.Addr
}

const (
	oneWay    = 150 * time.Millisecond
	roundTrip = 2 * oneWay

	underWay = 1000 // datagrams of one client
)

func newDistantConn() (*distantConn, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &distantConn{
		PacketConn: conn,
		sent:       make(chan datagram, underWay), received: make(chan datagram, underWay),
		closing: make(chan struct{}),
	}
	go c.send()
	go c.receive()
	return c, nil
}

func (c *distantConn) send() {
	for {
		select {
		case d := <-c.sent:
			time.Sleep(time.Until(d.due))
			c.PacketConn.WriteTo(d.data, d.addr) // an error is a lost datagram
		case <-c.closing:
			return
		}
	}
}

func (c *distantConn) receive() {
	for {
		b := make([]byte, 2000)
		n, addr, err := c.PacketConn.ReadFrom(b)
		if err != nil {
			c.once.Do(func() { close(c.closing) })
			return
		}
		c.received <- datagram{time.Now().Add(oneWay), b[:n], addr}
	}
}

func (c *distantConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	c.sent <- datagram{time.Now().Add(oneWay), append([]byte(nil), b...), addr}
	return len(b), nil
}

func (c *distantConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-c.received:
		time.Sleep(time.Until(d.due))
		return copy(b, d.data), d.addr, nil
	case <-c.closing:
		return 0, nil, net.ErrClosed
	}
}
