package sockets_test

import (
	"context"
	"io"
	"log"
	"net"

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
	go new(autorestart.Restarter).Run(context.Background())
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
