// Package quicserve serves HTTP/3, by quic-go, across the restarts of package autorestart. Copy it
// into your program.
//
// In a restart the old version says goodbye to its clients: it answers their requests, and has them
// close their connections. Packets that begin new connections wait for the new version, which
// answers them first. A client that has missed the goodbye gets a stateless reset as soon as it
// sends something, since all versions have the same key. So clients need two round trips from the
// start of the new version to its first answer: one for the handshake, one for the request.
package quicserve

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"syscall"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/sockets"
)

// Listen returns a transport at a UDP address, such as ":443". It has the socket and the keys that
// the previous version had. The caller may set further fields, apart from ConnContext.
func Listen(ctx context.Context, address string) (*quic.Transport, error) {
	config := sockets.Config{KeepPacket: beginsConnection}
	conn, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	reset, token := keys()
	return &quic.Transport{
		Conn:               packetConn{conn.(udpConn)},
		ConnectionIDLength: connectionIDLength,
		StatelessResetKey:  &reset,
		TokenGeneratorKey:  &token,
	}, nil
}

const (
	// connectionIDLength is the length of the connection IDs that this server chooses. It is
	// less than clientIDLength, so that a packet shows which side has chosen its destination.
	connectionIDLength = 7

	// clientIDLength is the least length of the connection ID that a client chooses for its
	// first packets, see RFC 9000, section 7.2.
	clientIDLength = 8
)

// beginsConnection reports whether a packet is one of the first of a connection: the server has not
// chosen a connection ID yet. The bits and bytes are the same in all versions of QUIC, see RFC 8999.
func beginsConnection(packet []byte, _ netip.AddrPort) bool {
	const (
		longHeader = 0x80 // in the first byte, which the version follows
		idLength   = 5    // where that of the destination is
	)
	return len(packet) > idLength && packet[0]&longHeader != 0 && packet[idLength] >= clientIDLength
}

// keys returns the keys of the process. They cross each exec as a state. By the first, a client
// believes that its connection is gone. By the second, it shows that it has the address that it says.
func keys() (reset quic.StatelessResetKey, token quic.TokenGeneratorKey) {
	const name = "quicserve keys"
	state, _ := autorestart.State(name)
	if len(state) != len(reset)+len(token) {
		state = make([]byte, len(reset)+len(token))
		rand.Read(state)
		autorestart.SetState(name, state)
	}
	copy(reset[:], state)
	copy(token[:], state[len(reset):])
	return reset, token
}

// A packetConn has the methods by which quic-go uses ECN and segmentation offload. Of itself
// quic-go would read by recvmmsg(2), which bypasses KeepPacket.
type packetConn struct{ udpConn }

type udpConn interface {
	net.PacketConn
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
	SyscallConn() (syscall.RawConn, error)
	ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, from netip.AddrPort, err error)
	WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error)
}

var _ quic.OOBCapablePacketConn = packetConn{}

// ReadMsgUDP is one of the methods that quic-go looks for.
func (c packetConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, from *net.UDPAddr, err error) {
	n, oobn, flags, addr, err := c.ReadMsgUDPAddrPort(b, oob)
	return n, oobn, flags, net.UDPAddrFromAddrPort(addr), err
}

// ReadBatch reads one packet into the first message.
func (c packetConn) ReadBatch(messages []ipv4.Message, _ int) (int, error) {
	m := &messages[0]
	n, oobn, flags, from, err := c.ReadMsgUDPAddrPort(m.Buffers[0], m.OOB)
	if err != nil {
		return 0, err
	}
	m.N, m.NN, m.Flags, m.Addr = n, oobn, flags, net.UDPAddrFromAddrPort(from)
	return 1, nil
}
