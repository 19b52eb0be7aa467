package main

import (
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/autorestart-go/autorestart/sockets"
)

// answerPackets answers each datagram at a UDP address with the PID of this process and the text of the datagram.
func answerPackets(address string) {
	conn := must(sockets.ListenPacket("udp", address))
	go func() { slog.Error("datagrams are not answered any more", "error", answer(conn)) }()
}

func answer(conn net.PacketConn) error {
	prefix := strconv.Itoa(os.Getpid()) + " "
	text := make([]byte, 1<<10)
	for {
		n, client, err := conn.ReadFrom(text)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(append([]byte(prefix), text[:n]...), client); err != nil {
			return err
		}
	}
}
