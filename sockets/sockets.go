// Package sockets opens sockets that survive the restarts of package autorestart: in the
// new version, a call with the same network and address returns the same socket. No
// client is refused in between, because the kernel's queue survives, too.
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
// [autorestart.RegisterDrainer]. During the drain Accept blocks. The methods that read
// from a packet connection block, too, unless [Config.KeepPacket] is set. A socket with a
// [Config.DrainOrder] works until drainers with lower numbers have been drained. A socket
// that the program closes during a drain is quiesced at once, whatever its number.
//
// New connections are taken out of the kernel's queue, so that the queue does not fill
// up. They cross the exec unread, and Accept of the new version returns them first. They
// stay in the queue
//   - while fewer than 32 descriptors are free, which is logged
//   - if the new version contains a release of this package that does not know such
//     connections
//   - if the program has made the listening socket blocking.
//
// When the queue is full, the kernel refuses clients of a Unix socket, and clients of TCP
// wait for time-outs.
//
// Packets stay in the kernel until the new version reads them.
//
// The exec waits until
//   - every accepted connection is closed
//   - every packet that was read has been handled.
//
// After [autorestart.Restarter.DrainTimeout] the exec cuts off the connections that are
// left. Connections that stay open for long should end when the channel of
// [autorestart.Draining] is closed.
//
// If the restart is called off, Accept and the read methods continue. No waiting
// connection or packet is lost by a restart. No Accept and no read returns an error
// because of a restart.
//
// # When a packet is handled
//
// A packet counts as handled when its reader calls a read method again, or when the
// socket is closed. If another goroutine reads on instead, the packet counts as handled
// one second later. Calls of Read in package syscall's RawConn are reads, too.
//
// The package tells up to 128 readers of a socket apart, by their buffers and goroutines.
// With more readers, a packet may count as handled when another reader reads. The same
// can happen if a reader uses another buffer after an error.
//
// # Reading during a drain
//
// A protocol with connections, such as QUIC, can end them only if it also receives
// something. With [Config.KeepPacket], a UDP socket goes on reading until everything else
// is drained. Each packet that it reads in a drain is either
//   - for this version: the reader gets it
//   - for the next version, as one that begins a connection: it is kept in memory, crosses
//     the exec, and is read before all others.
//
// The read methods of the next version return the packets that were kept, with their
// addresses and control messages. If the restart is called off, those of this version do.
// In a rollback, packets that the failed version has not read go back to the previous
// version. At most 4,096 packets and 4 MiB are kept. Further ones are dropped, and their
// number is logged. A packet that is longer than the buffer of its reader is cut, as
// always.
//
// Right before the exec the reading ends. Packets that arrive later stay in the kernel. The
// exec does not wait until packets are handled, as the socket reads all the time: register
// a Drainer that knows what is left to do, see [autorestart.RegisterDrainer]. A KeepPacket
// that has not returned by then has kept its packet.
//
// All reads have to pass KeepPacket. So Read of package syscall's RawConn fails, and the
// connection lacks the method ReadMsgUDP, by which other packages would recognize one that
// they can read by system calls. ReadMsgUDPAddrPort does the same.
//
// With Overlap another process reads while this one drains. KeepPacket has no effect then, nor
// if the program has made the socket blocking, as [os.File.Fd] does.
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
//   - the socket that the same call opened before the restart. If several calls were the
//     same, the first call returns the first socket, the second call the second, and so
//     on.
//   - a socket that systemd passed with the name [Config.Name]
//   - a socket that is bound to the requested address: a call with 0.0.0.0:8080 returns
//     the socket that the previous version opened with :8080
//   - a new socket.
//
// A socket that was opened with port 0 keeps its port.
//
// # Unclaimed sockets
//
// [autorestart.Ready] closes the sockets that the previous version had opened and the new
// version has not claimed. It also closes the connections that wait on such a socket: new
// connections, and idle connections of package httpserve. If the new version has a
// listener at the same address, as with SO_REUSEPORT, that listener accepts these
// connections. Without a call of Ready, unclaimed sockets are closed after one minute,
// see [autorestart.Inherited].
//
// Before Ready, the addresses of unclaimed sockets are in use. A new version that calls
// [net.Listen] for such an address fails.
//
// If the previous version has set [autorestart.Restarter.HealthTimeout], unclaimed
// sockets stay open for that time after Ready, because the previous version needs them
// after a rollback. Their connections wait meanwhile, except for those that a listener at
// the same address accepts.
//
// # Paths of Unix sockets
//
// The path of a Unix socket stays during a restart. A program that removes the path
// before it listens should do so only if [autorestart.Generation] is 0. If the path of an
// inherited socket is gone, a new socket is opened.
//
// Close removes the path of a listener, as in package net. In a version on trial, Close
// leaves the path of an inherited listener, because the previous version needs it after a
// rollback. The path is removed at the end of the trial. When an unclaimed socket is
// closed, its path is removed, too.
//
// # Overlap
//
// With the option Overlap of [autorestart.Restarter], the new version also runs as a second
// process for a while, the stand-in. The main process is the one that stays. Both have the
// sockets, and one of them takes what arrives:
//   - When the stand-in is ready, it accepts connections and reads packets. The main process
//     stops, drains, and executes the new version.
//   - When the new version is ready, it accepts and reads. The stand-in stops, drains, and
//     ends.
//
// The process that stops gives these connections to the other process, whose Accept returns
// them:
//   - idle connections of package httpserve, also with a part of the next request's header
//   - connections that were taken out of the kernel's queue, and not accepted.
//
// The clients notice nothing. All other connections stay in their process, which waits for
// their end in the drain. The other process does not take a connection if it has no listener
// for it, or if fewer than 32 descriptors are free. Then the connection crosses the exec as
// without Overlap. If the stand-in still has it when it ends, it is closed.
//
// At most 2,000 connections go over in a second, so that other requests need not wait. While a
// connection goes over, Close and a read deadline have no effect on it. They take effect if the
// other process does not take it.
//
// If the new version opens an address that the old one does not have, the stand-in opens it
// first. The new version inherits that socket through the main process.
//
// The stand-in does not remove the path of a Unix socket that it has inherited, and it closes
// listening sockets when it stops.
//
// If the stand-in dies, its connections and the packets that it has read are lost, as with
// every process that dies. Clients in the kernel's queue are not lost.
//
// If the main process dies while the stand-in serves, the stand-in frees the addresses for the
// next process within 50 ms. It takes the clients out of the queues, serves them and its
// others, and ends. Accept then blocks, as do methods that read packets, until the socket is
// closed. Packets that nothing has read are lost. A client that connects in these 50 ms waits a
// second and tries again, as TCP does.
//
// # Importing the package
//
// Importing the package opens no socket, and takes none from systemd or from the previous
// version. Listen and ListenPacket do that.
//
// # systemd
//
// Sockets that systemd passes (sd_listen_fds(3)) are found like inherited ones, by
// address or by [Config.Name]. The call of Listen or ListenPacket that returns a socket
// takes it. From then on the socket crosses each exec like the others of this package.
// Close does not remove the path of such a socket.
//
// Sockets that are not taken stay as systemd has passed them: the descriptors, their
// flags, and LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES in the environment.
// [autorestart.Ready] does not close them. Another library can take them, before or after
// this package. Later versions can take them, also versions without this library.
// Children inherit them, as in every program that has not called sd_listen_fds.
//
// When a socket is taken, a placeholder gets its descriptor, so that no other file gets
// that number. When all announced sockets are taken, the package closes the placeholders
// and removes the variables. If a version on trial is rolled back, the previous version
// finds the sockets that the failed version has taken.
//
// A descriptor that is close-on-exec is not taken, because another library has taken it
// already. Announcements for another process are ignored: LISTEN_PID, or LISTEN_PIDFDID if
// the kernel has pidfs, tells the process. With PrivatePIDs=, LISTEN_PID is a PID outside of
// the service's PID namespace. Then process 1 takes the sockets, if LISTEN_PID equals
// SYSTEMD_EXEC_PID. A setuid or setgid program ignores all announcements. A program that uses two libraries for systemd must not call
// both at the same time.
package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Listen is like [net.Listen] for a listener that survives restarts. The network is tcp,
// tcp4, tcp6, unix or unixpacket.
//
// The listener has the methods of [*net.TCPListener] or [*net.UnixListener], without
// AcceptTCP, AcceptUnix and SetUnlinkOnClose. The connections that it accepts have the
// methods of [*net.TCPConn] or [*net.UnixConn], but are of another type. Assert an
// interface with the methods that you need, such as interface{ CloseWrite() error }.
// [io.Copy] of a file to a TCP connection uses sendfile(2), as in package net.
//
// During a restart Listen returns a new listener at once, and its Accept blocks. In three
// cases Listen itself waits until the restart is called off:
//   - the exec comes next
//   - the socket was passed to this version
//   - the program has closed the socket of the address during the restart.
//
// Accept retries after errors that pass by themselves, so that they end no server. Such
// errors are those of a single connection, such as ECONNABORTED, and a shortage of
// descriptors or memory. A shortage is logged. The pause between two attempts grows to a
// second.
//
// Errors are those of net.Listen, [*net.OpError]. Listen also fails if there is no
// descriptor left for the copy that crosses the exec. A new socket is then closed. For a
// socket that is inherited or from systemd, Listen first retries for up to a second. If
// it still fails, it leaves the socket where it was.
//
// If the address is in use, Listen tries again for a tenth of a second: a stand-in whose main
// process has died may be about to close its socket.
//
// On systems without an exec the listener works like one of package net.
func Listen(network, address string) (net.Listener, error) {
	return new(Config).Listen(context.Background(), network, address)
}

// ListenPacket is like [net.ListenPacket] for a connection that survives restarts. The
// network is udp, udp4, udp6 or unixgram.
//
// The connection has the methods of [*net.UDPConn] or [*net.UnixConn], but is of another
// type, see [Listen]. Close leaves the path of a unixgram socket, as in package net.
//
// During a restart ListenPacket waits in the same cases as Listen.
func ListenPacket(network, address string) (net.PacketConn, error) {
	return new(Config).ListenPacket(context.Background(), network, address)
}

// A Config contains options for sockets. The zero value has none.
type Config struct {
	// ListenConfig applies to new sockets. An inherited socket keeps its options, and
	// Control is not called for it. The keep-alive settings apply to all accepted
	// connections.
	//
	// Listeners never use Multipath TCP, see mptcp(7). If the next version did not open a
	// listener with Multipath TCP, closing that listener would reset some of its clients.
	net.ListenConfig

	// Name is the name of the socket in systemd: FileDescriptorName=, or else the name of
	// the socket unit. If empty, or if systemd has passed no such socket, the address
	// alone decides.
	Name string

	// DrainOrder is the number of the socket among the drainers of the program, see
	// [autorestart.RegisterDrainer]. A socket with a higher number works until drainers
	// with lower numbers have been drained. The server of an httpserve.Serve takes the
	// number from its listener. Every version sets the number anew.
	DrainOrder int

	// KeepPacket, unless nil, has a UDP socket go on reading while the program is drained, so
	// that a protocol with connections, such as QUIC, can end these. It is called with each
	// packet that is read during the drain, by the goroutine that reads. If it returns true,
	// the packet is kept for the next version, and the reader reads on. If it returns false,
	// the reader gets the packet. See the section about reading during a drain above.
	//
	// The packet is only valid during the call, and KeepPacket does not change it. KeepPacket
	// returns at once. If it panics, which is logged, the packet is kept.
	//
	// Listen, and ListenPacket with a network other than udp, udp4 and udp6, fail if it is set.
	KeepPacket func(packet []byte, from netip.AddrPort) (keep bool)
}

// Listen is like the function [Listen], with the options of c. If ctx ends while Listen
// waits for the end of a restart, the error wraps the cause of ctx.
func (c *Config) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix", "unixpacket":
	default:
		return nil, unknownNetwork(network, address)
	}
	if c.KeepPacket != nil {
		return nil, listenError(network, address, errKeepPacket)
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
	return newListener(o.registry, s, k, oldKey, c), nil
}

// ListenPacket is like the function [ListenPacket], with the options of c.
func (c *Config) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	switch network {
	case "udp", "udp4", "udp6", "unixgram":
	default:
		return nil, unknownNetwork(network, address)
	}
	if c.KeepPacket != nil && isUnix(network) {
		return nil, listenError(network, address, errKeepPacket)
	}
	network, address = strings.Clone(network), strings.Clone(address)
	o := opening{ctx: ctx, registry: currentRegistry()}
	defer o.end()
	s, k, oldKey, err := open(&o, request{network: network, address: address, name: strings.Clone(c.Name)}, source[packetSocket]{
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
	return newPacketConn(o.registry, s, k, oldKey, c), nil
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

var errKeepPacket = fmt.Errorf("KeepPacket is for UDP: %w", errors.ErrUnsupported)

func unknownNetwork(network, address string) error {
	return listenError(network, address, net.UnknownNetworkError(network))
}
