// Package sockets opens sockets that survive the restarts of package autorestart: in
// the new version, a call with the same network and address returns the same socket.
// No client is refused in between, because the kernel's queue survives, too.
//
//	ln, err := sockets.Listen("tcp", ":8080")
//	if err != nil {
//		log.Panic(err)
//	}
//	autorestart.Ready()
//	for {
//		conn, err := ln.Accept()
//		if err != nil {
//			log.Panic(err)
//		}
//		go handle(conn)
//	}
//
// For servers of net/http there is package httpserve.
//
// # Before the exec
//
// Every socket of this package is drained before an exec, see
// [autorestart.RegisterDrainer]. Accept blocks, and so do the methods that read from a
// packet connection. Packets stay in the kernel. So that its queue does not fill up, new
// connections are taken out of it: they cross the exec unread, and Accept of the new version
// returns them first. They stay in the queue while fewer than 32 descriptors are free, which is
// logged, and if the new version contains a version of this package that would close them. When
// the queue is full, the kernel refuses clients of a Unix socket, and those of TCP wait for
// time-outs.
//
// The exec waits until
//   - every accepted connection is closed
//   - every packet that was read has been handled. A packet counts as handled when
//     its reader calls a read method again, or when the socket is closed. If another
//     goroutine reads on instead, the packet counts as handled one second later. A reader
//     that comes back from an error with another buffer is taken for one that is done. So
//     is one that comes for its first packet after 128 that the package had not seen before:
//     goroutines, buffers, or calls of Read in package syscall's RawConn.
//
// After [autorestart.Restarter.DrainTimeout] the exec cuts off what is left.
// Connections that stay open for long should end when the channel of
// [autorestart.Draining] is closed.
//
// If the restart is called off, Accept and the read methods continue. Whether there is
// an exec or not, nothing that waits is lost, and no Accept or read
// returns an error because of the restart.
//
// # Descriptors
//
// An exec needs a few descriptors. So that clients can't take the last ones, Accept waits
// while fewer than 16 are free below the soft RLIMIT_NOFILE, or a quarter of a limit below
// 64. New connections wait in the kernel meanwhile.
//
// # Which socket a call returns
//
// Networks and addresses are those of package net. A call returns the first of these
// sockets that exists and is unclaimed:
//   - the socket that the same call opened before the restart; of several, the nth
//     call returns the nth socket
//   - a socket that systemd passed with the name [Config].Name
//   - a socket that is bound to the requested address: a call with 0.0.0.0:8080
//     returns the socket that the previous version opened with :8080
//   - a new socket
//
// So a socket that was opened with port 0 keeps the port that it got.
//
// [autorestart.Ready] closes the sockets that the previous version had opened and the
// new one has not claimed. Until then their addresses are in use: a new version that calls [net.Listen] instead of this
// package can't listen on them.
//
// The path of a Unix socket stays. Remove it before listening only if
// [autorestart.Generation] is 0: an inherited socket without its path is of no use, so
// a new one is opened. Close removes the path of a listener, as in package net. While
// this version is on trial, Close leaves the path of an inherited listener to the
// previous version, which needs it after a rollback; [autorestart.Ready] removes it.
//
// # systemd
//
// Importing the package changes nothing. Sockets that systemd passes (sd_listen_fds(3))
// are found like inherited ones, by address or by [Config].Name. The call of Listen or
// ListenPacket that returns a socket takes it. From then on the socket crosses each exec
// like the others of this package. Close leaves its path alone.
//
// What is not taken stays as systemd has passed it: the descriptors, their flags, and
// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES in the environment. [autorestart.Ready]
// closes none of it. Later versions, with or without this library, can take it, and so
// can another library, before or after. As in every program that has not called
// sd_listen_fds, children inherit it.
//
// The descriptor of a socket that was taken is that of a small file from then on, so
// that its number stands for no other socket. When all that was announced is taken, the
// package closes these files and removes the variables. If a version on trial is
// rolled back, the previous version finds what the failed one has taken.
//
// The package takes no socket that is close-on-exec: another library has it. It ignores
// announcements for another process, and all of them in a setuid program. A program that
// uses two libraries for systemd must not call both at the same time.
package sockets

import (
	"context"
	"net"
	"strings"
)

// Listen is like [net.Listen] for a listener that survives restarts. The network is
// tcp, tcp4, tcp6, unix or unixpacket.
//
// The listener also has the methods SetDeadline, File and SyscallConn of the
// listeners of package net. The connections that it accepts embed [*net.TCPConn] or
// [*net.UnixConn].
//
// During a restart Listen returns a new listener, on which Accept blocks. It waits until the
// restart is called off where the exec comes next, for a socket that was handed to this version,
// and for an address whose socket the program has closed during the restart.
//
// Accept does not return errors that pass by themselves, so that no server ends for one:
// errors of one connection, as ECONNABORTED, and a shortage of descriptors or memory. It
// logs a shortage, and tries again at intervals of up to a second.
//
// Errors are those of net.Listen, [*net.OpError]. Listen also fails, and closes the
// socket, if there is no descriptor left for the copy that crosses the exec. For an inherited
// socket and one from systemd Listen then waits for up to a second, and leaves the socket where
// it was. On systems without an exec the listener works like one
// of package net.
func Listen(network, address string) (net.Listener, error) {
	return new(Config).Listen(context.Background(), network, address)
}

// ListenPacket is like [net.ListenPacket] for a connection that survives restarts. The
// network is udp, udp4, udp6 or unixgram.
//
// During a restart ListenPacket waits where Listen does.
//
// The connection embeds [*net.UDPConn] or [*net.UnixConn]. Close leaves the path of a
// unixgram socket, as in package net.
func ListenPacket(network, address string) (net.PacketConn, error) {
	return new(Config).ListenPacket(context.Background(), network, address)
}

// Config contains options for sockets. The zero value has none.
type Config struct {
	// ListenConfig applies to new sockets. An inherited socket keeps its options, and
	// Control is not called for it. The keep-alive settings apply to the connections
	// that either accepts. Listeners never use Multipath TCP, see mptcp(7): one that the next
	// version does not open could not be closed without a reset for some of its clients.
	net.ListenConfig

	// Name is the name of the socket in systemd: FileDescriptorName=, or else the name
	// of the socket unit. If empty, or if systemd has passed no such socket, the
	// address alone decides.
	Name string
}

// Listen is like the function [Listen], with the options of c. If ctx ends while Listen waits
// for the end of a restart, the error is its cause.
func (c *Config) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix", "unixpacket":
	default:
		return nil, unknownNetwork(network, address)
	}
	// An argument of the program may be overwritten by a title, see package origin.
	network, address = strings.Clone(network), strings.Clone(address)
	o := opening{ctx: ctx}
	defer o.end()
	s, k, oldKey, err := open(&o, request{network: network, address: address, name: strings.Clone(c.Name)}, source[listenerSocket]{
		listen: func() (listenerSocket, error) {
			ln, err := c.listenConfig(&o).Listen(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return ln.(listenerSocket), nil
		},
		fromFile: fileListener,
		addr:     listenerSocket.Addr,
	})
	if err != nil {
		return nil, err
	}
	return newListener(s, k, oldKey, keepAlive{c.KeepAlive, c.KeepAliveConfig}), nil
}

// ListenPacket is like the function [ListenPacket], with the options of c.
func (c *Config) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	switch network {
	case "udp", "udp4", "udp6", "unixgram":
	default:
		return nil, unknownNetwork(network, address)
	}
	network, address = strings.Clone(network), strings.Clone(address)
	o := opening{ctx: ctx}
	defer o.end()
	s, k, _, err := open(&o, request{network: network, address: address, name: strings.Clone(c.Name)}, source[packetSocket]{
		listen: func() (packetSocket, error) {
			conn, err := c.listenConfig(&o).ListenPacket(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return conn.(packetSocket), nil
		},
		fromFile: filePacketConn,
		addr:     packetSocket.LocalAddr,
	})
	if err != nil {
		return nil, err
	}
	return newPacketConn(s, k), nil
}

// listenConfig returns the options for a new socket, which is bound within the opening.
func (c *Config) listenConfig(o *opening) *net.ListenConfig {
	config := c.ListenConfig
	config.SetMultipathTCP(false) // dropSYN needs that
	if hasExec {
		config.Control = o.before(config.Control)
	}
	return &config
}

func unknownNetwork(network, address string) error {
	return listenError(network, address, net.UnknownNetworkError(network))
}
