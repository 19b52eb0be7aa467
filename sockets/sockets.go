// Package sockets opens sockets that survive the restarts of package autorestart:
// asked for again by the new version, the same network and address gives the same
// socket. Nobody is refused in between, since the kernel's queue is the same, too.
//
//	ln, err := sockets.Listen("tcp", ":8080")
//	...
//	autorestart.Ready()
//	for {
//		conn, err := ln.Accept()
//		...
//	}
//
// For servers of net/http there is package httpserve.
//
// # Before the exec
//
// Every socket of this package is brought to rest before an exec, see
// [autorestart.RegisterDrainer]: Accept and the methods that read from a packet
// connection wait, newcomers stay in the kernel, and the exec waits until
//   - every accepted connection is closed
//   - everybody who has read a packet asks for the next one, or has closed the
//     socket: that is taken to say that the packet is done with. Of several readers
//     each counts for one packet, whichever that was: one that comes for its first,
//     or back from an error, can stand in for another who is still at work.
//
// What is not done after [autorestart.Restarter.DrainTimeout] is cut off. Connections
// that stay open for long should end when [autorestart.Draining] says so. If the
// restart is called off, everything goes on; nothing is lost either way, and no
// Accept or read returns an error that it would not have returned otherwise.
//
// # Which socket is the same
//
// Networks and addresses are those of package net. What was opened by the same
// call is found first, the nth of several by the nth call; then a socket that has
// the address that is asked for, as for 0.0.0.0:8080 where the version before asked
// for :8080. So port 0 keeps the port that it got. What the new version has not asked
// for when it calls [autorestart.Ready] is closed. Until then an address that was
// handed over is taken for [net.Listen]: a version from before this package was in use
// can't go back to its own.
//
// The path of a Unix socket stays. Don't remove it before listening, unless
// [autorestart.Generation] is 0: without a path, an inherited socket is of no use, and
// another is opened. Close removes the path of a listener as package net does; on
// probation only [autorestart.Ready] does, if the version before needs it to come back.
//
// # systemd
//
// Sockets that systemd passes (sd_listen_fds(3)) are found like inherited ones, by
// address or by [Config].Name, in the first image and all that follow. The
// variables are taken out of the environment. Close leaves the paths of these
// sockets alone.
package sockets

import (
	"context"
	"net"
)

// Listen is [net.Listen] for a listener that survives restarts: networks tcp, tcp4,
// tcp6, unix and unixpacket.
//
// Connections that it accepts embed [*net.TCPConn] or [*net.UnixConn]. The listener
// also has the methods SetDeadline, File and SyscallConn of those of package net.
//
// Errors are those of net.Listen, [*net.OpError], also where no descriptor is left
// for what crosses the exec; then the socket is closed. On systems without an exec
// the listener works all the same.
func Listen(network, address string) (net.Listener, error) {
	return new(Config).Listen(context.Background(), network, address)
}

// ListenPacket is [net.ListenPacket] for a connection that survives restarts:
// networks udp, udp4, udp6 and unixgram.
//
// The connection embeds [*net.UDPConn] or [*net.UnixConn]. The path of a unixgram
// socket stays when it is closed, as in package net.
func ListenPacket(network, address string) (net.PacketConn, error) {
	return new(Config).ListenPacket(context.Background(), network, address)
}

// Config has options for sockets. The zero value has none.
type Config struct {
	// ListenConfig is for sockets that are opened. One that is inherited stays what
	// it is: Control is not called for it, but the keep-alive of accepted
	// connections is as it says.
	net.ListenConfig

	// Name is that of the socket in systemd: FileDescriptorName=, or the name of
	// the unit. If empty, or if systemd has passed no such socket, the address alone
	// decides.
	Name string
}

// Listen is like the function of that name.
func (c *Config) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix", "unixpacket":
	default:
		return nil, unknownNetwork(network, address)
	}
	s, k, then, err := obtain(ctx, network, address, c.Name, fileListener, func() (listenerSocket, error) {
		ln, err := c.ListenConfig.Listen(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return ln.(listenerSocket), nil
	}, listenerSocket.Addr)
	if err != nil {
		return nil, err
	}
	return newListener(s, k, then, keepAlive{c.KeepAlive, c.KeepAliveConfig}), nil
}

// ListenPacket is like the function of that name.
func (c *Config) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	switch network {
	case "udp", "udp4", "udp6", "unixgram":
	default:
		return nil, unknownNetwork(network, address)
	}
	s, k, _, err := obtain(ctx, network, address, c.Name, filePacketConn, func() (packetSocket, error) {
		conn, err := c.ListenConfig.ListenPacket(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return conn.(packetSocket), nil
	}, packetSocket.LocalAddr)
	if err != nil {
		return nil, err
	}
	return newPacketConn(s, k), nil
}

func unknownNetwork(network, address string) error {
	return &net.OpError{Op: "listen", Net: network, Addr: asked{network, address}, Err: net.UnknownNetworkError(network)}
}
