//go:build linux

package quicserve_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/autorestart-go/autorestart/examples/http3/quicserve"
	"github.com/autorestart-go/autorestart/sockets"
)

const uploadSize = 32 << 20

// BenchmarkUpload compares the ways in which quic-go reads packets: as in this package, and by
// recvmmsg(2), as from each other socket.
func BenchmarkUpload(b *testing.B) {
	for _, bench := range []struct {
		name   string
		listen func() (*quic.Transport, error)
	}{
		{"quicserve", func() (*quic.Transport, error) { return quicserve.Listen(b.Context(), "127.0.0.1:0") }},
		{"recvmmsg", func() (*quic.Transport, error) {
			conn, err := sockets.ListenPacket("udp", "127.0.0.1:0")
			return &quic.Transport{Conn: conn}, err
		}},
		{"net", func() (*quic.Transport, error) {
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			return &quic.Transport{Conn: conn}, err
		}},
		{"net, without ECN and offload", func() (*quic.Transport, error) {
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			return &quic.Transport{Conn: struct{ net.PacketConn }{conn}}, err
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			transport, err := bench.listen()
			if err != nil {
				b.Fatal(err)
			}
			defer transport.Conn.Close()
			defer transport.Close()
			upload(b, transport)
		})
	}
}

// upload has a client send data on one stream after the other.
func upload(b *testing.B, server *quic.Transport) {
	const protocol = "upload"
	listener, err := server.Listen(&tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{protocol}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		conn, err := listener.Accept(context.Background())
		if err != nil {
			return
		}
		for {
			stream, err := conn.AcceptStream(context.Background())
			if err != nil {
				return
			}
			io.Copy(io.Discard, stream)
			stream.Close()
		}
	}()
	conn, err := quic.DialAddr(b.Context(), server.Conn.LocalAddr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.CloseWithError(0, "")
	data := make([]byte, uploadSize)
	b.SetBytes(uploadSize)
	for b.Loop() {
		stream, err := conn.OpenStreamSync(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := stream.Write(data); err != nil {
			b.Fatal(err)
		}
		stream.Close()
		if _, err := io.ReadAll(stream); err != nil { // until the server has all
			b.Fatal(err)
		}
	}
}
