package sockets_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/sockets"
)

// An echo server over TCP. When a new version is deployed, the old one stops reading
// from its open connections, answers what has arrived, and closes them.
func Example_tcp() {
	ln, err := sockets.Listen("tcp", ":7007")
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	go func() { log.Print(new(autorestart.Restarter).Run(context.Background())) }()
	for {
		conn, err := ln.Accept()
		if err != nil {
			log.Panic(err)
		}
		go echo(conn)
	}
}

func echo(conn net.Conn) {
	done := make(chan struct{})
	go func() {
		select {
		case <-autorestart.Draining():
			conn.(interface{ CloseRead() error }).CloseRead() // what has arrived is still answered
		case <-done:
		}
	}()
	io.Copy(conn, conn)
	close(done)
	conn.Close()
}

// An echo server over UDP. While it is drained, datagrams wait in the kernel. A datagram
// counts as handled when its reader reads again.
func ExampleListenPacket() {
	conn, err := sockets.ListenPacket("udp", ":7007")
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	go func() { log.Print(new(autorestart.Restarter).Run(context.Background())) }()
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			log.Panic(err)
		}
		if _, err := conn.WriteTo(buffer[:n], from); err != nil {
			log.Print(err)
		}
	}
}

// The same call returns the same socket: in the next version, too, which finds the port
// that this one has got.
func ExampleListen() {
	ln, err := sockets.Listen("tcp", "localhost:0")
	if err != nil {
		log.Panic(err)
	}
	defer ln.Close()
	fmt.Println("the kernel has chosen a port:", ln.Addr().(*net.TCPAddr).Port != 0)
	// Output:
	// the kernel has chosen a port: true
}

// A server with sessions goes on reading while it is drained. Packets that begin a session
// wait for the next version.
func ExampleConfig_keepPacket() {
	config := sockets.Config{KeepPacket: func(packet []byte, _ netip.AddrPort) bool {
		return bytes.HasPrefix(packet, []byte("hello"))
	}}
	conn, err := config.ListenPacket(context.Background(), "udp", ":7007")
	if err != nil {
		log.Panic(err)
	}
	defer conn.Close()
	autorestart.Ready()
	log.Print("serving ", conn.LocalAddr())
}

// A server that systemd may start by socket activation, with FileDescriptorName=web in
// the socket unit. Without systemd it opens the address itself.
func ExampleConfig() {
	config := sockets.Config{Name: "web"}
	ln, err := config.Listen(context.Background(), "tcp", ":8080")
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	log.Print("listening on ", ln.Addr())
}

// The admin server answers until all other drainers have finished, so that its metrics show
// the drain.
func ExampleConfig_drainOrder() {
	config := sockets.Config{DrainOrder: 10}
	ln, err := config.Listen(context.Background(), "tcp", "localhost:9090")
	if err != nil {
		log.Panic(err)
	}
	go func() { log.Print(http.Serve(ln, http.DefaultServeMux)) }()
}
