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
// [autorestart.RegisterDrainer]. Accept blocks, and the methods that read from a packet
// connection block, too.
//
// Packets stay in the kernel. New connections are taken out of the kernel's queue, so
// that the queue does not fill up. They cross the exec unread, and Accept of the new
// version returns them first. They stay in the queue in two cases: fewer than 32
// descriptors are free, which is logged; or the new version contains a version of this
// package that does not know such connections. When the queue is full, the kernel refuses
// clients of a Unix socket, and clients of TCP wait for time-outs.
//
// The exec waits until
//   - every accepted connection is closed
//   - every packet that was read has been handled.
//
// A packet counts as handled when its reader calls a read method again, or when the
// socket is closed. If another goroutine reads on instead, the packet counts as handled
// one second later. The package tells readers apart by their buffers and goroutines, up
// to 128 of them; calls of Read in package syscall's RawConn count, too. Each further
// reader, and one that has another buffer after an error, counts as a reader that has
// handled its packet.
//
// After [autorestart.Restarter.DrainTimeout] the exec cuts off the connections that are
// left. Connections that stay open for long should end when the channel of
// [autorestart.Draining] is closed.
//
// If the restart is called off, Accept and the read methods continue. No connection or
// packet that waits is lost by a restart. No Accept and no read returns an error because
// of a restart.
//
// # Descriptors
//
// An exec needs a few descriptors, which clients must not take. Accept therefore waits
// while fewer than 16 descriptors are free below the soft RLIMIT_NOFILE. If that limit is
// below 64, Accept keeps a quarter of it free. New connections wait in the kernel
// meanwhile.
//
// # Which socket a call returns
//
// Networks and addresses are those of package net. A call returns the first of these
// sockets that exists and is unclaimed:
//   - the socket that the same call opened before the restart; of several, the nth call
//     returns the nth socket
//   - a socket that systemd passed with the name [Config].Name
//   - a socket that is bound to the requested address: a call with 0.0.0.0:8080 returns
//     the socket that the previous version opened with :8080
//   - a new socket
//
// A socket that was opened with port 0 keeps its port.
//
// [autorestart.Ready] closes the sockets that the previous version had opened and the new
// one has not claimed. Until then their addresses are in use. A new version that calls
// [net.Listen] for such an address fails.
//
// While a [autorestart.Restarter.HealthTimeout] lasts, Ready leaves these sockets open: the
// previous version needs them after a rollback. Their clients wait. But clients of a socket
// that has the address of an open listener, as with SO_REUSEPORT, are accepted there. When
// the time is over, the sockets are closed. So are their clients, and connections between
// two requests of listeners that the new version has not opened.
//
// The path of a Unix socket stays during a restart. A program should remove the path
// before it listens only if [autorestart.Generation] is 0. If the path of an inherited
// socket is gone, a new socket is opened. Close removes the path of a listener, as in
// package net. In a version on trial, Close leaves the path of an inherited listener,
// because the previous version needs it after a rollback; the end of the trial removes it.
//
// # Importing the package
//
// Importing the package opens no socket, and takes none from systemd or from the previous
// version: Listen and ListenPacket do that. Sockets that were passed to this version and are
// not claimed are closed as said above.
//
// # systemd
//
// Sockets that systemd passes (sd_listen_fds(3))
// are found like inherited ones, by address or by [Config].Name. The call of Listen or
// ListenPacket that returns a socket takes it. From then on the socket crosses each exec
// like the others of this package. Close leaves its path alone.
//
// Sockets that are not taken stay as systemd has passed them: the descriptors, their
// flags, and LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES in the environment.
// [autorestart.Ready] does not close them. Another library can take them, before or after
// this package. Later versions can take them, also versions without this library.
// Children inherit them, as in every program that has not called sd_listen_fds.
//
// When a socket is taken, a small file gets its descriptor, so that no other socket gets
// that number. When all announced sockets are taken, the package closes these files and
// removes the variables. If a version on trial is rolled back, the previous version finds
// the sockets that the failed one has taken.
//
// The package takes no socket that is close-on-exec: another library has it. It ignores
// announcements for another process, and all announcements in a setuid program. A program
// that uses two libraries for systemd must not call both at the same time.
package sockets

import (
	"context"
	"net"
	"strings"
)

// Listen is like [net.Listen] for a listener that survives restarts. The network is
// tcp, tcp4, tcp6, unix or unixpacket.
//
// The listener has the methods of [*net.TCPListener] or [*net.UnixListener], without
// AcceptTCP, AcceptUnix and SetUnlinkOnClose. The connections that it accepts have the
// methods of [*net.TCPConn] or [*net.UnixConn], but are of another type: assert an interface
// with the methods that you need, as interface{ CloseWrite() error }. [io.Copy] of a file
// to a TCP connection uses sendfile(2), as in package net.
//
// During a restart Listen returns a new listener at once, and its Accept blocks. Listen
// itself waits until the restart is called off
//   - if the exec comes next
//   - for a socket that was passed to this version
//   - for an address whose socket the program has closed during the restart.
//
// Accept retries after errors that pass by themselves, so that no server ends because of
// one: errors of a single connection, such as ECONNABORTED, and a shortage of descriptors
// or memory. It logs a shortage. The pause between two attempts grows to a second.
//
// Errors are those of net.Listen, [*net.OpError]. Listen also fails if there is no
// descriptor left for the copy that crosses the exec. A new socket is then closed. For an
// inherited socket, or one from systemd, Listen first retries for up to a second; if it fails,
// it leaves the socket where it was.
//
// On systems without an exec the listener works like one of package net.
func Listen(network, address string) (net.Listener, error) {
	return new(Config).Listen(context.Background(), network, address)
}

// ListenPacket is like [net.ListenPacket] for a connection that survives restarts. The
// network is udp, udp4, udp6 or unixgram.
//
// During a restart ListenPacket waits in the same cases as Listen.
//
// The connection has the methods of [*net.UDPConn] or [*net.UnixConn], but is of another type,
// see [Listen]. Close leaves the path of a unixgram socket, as in package net.
func ListenPacket(network, address string) (net.PacketConn, error) {
	return new(Config).ListenPacket(context.Background(), network, address)
}

// Config contains options for sockets. The zero value has none.
type Config struct {
	// ListenConfig applies to new sockets. An inherited socket keeps its options, and
	// Control is not called for it. The keep-alive settings apply to all accepted
	// connections. Listeners never use Multipath TCP, see mptcp(7): if the next version
	// does not open such a listener, closing it would reset some of its clients.
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
	o := opening{ctx: ctx, registry: currentRegistry()}
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
	return newListener(o.registry, s, k, oldKey, keepAlive{c.KeepAlive, c.KeepAliveConfig}), nil
}

// ListenPacket is like the function [ListenPacket], with the options of c.
func (c *Config) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	switch network {
	case "udp", "udp4", "udp6", "unixgram":
	default:
		return nil, unknownNetwork(network, address)
	}
	network, address = strings.Clone(network), strings.Clone(address)
	o := opening{ctx: ctx, registry: currentRegistry()}
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
	return newPacketConn(o.registry, s, k), nil
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
