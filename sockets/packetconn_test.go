package sockets

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestPacketCountsAsHandledWhenItsReaderReadsAgain(t *testing.T) {
	pc, err := ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	client, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn := pc.(*udpConn)
	p := packetsDrainer{conn.packets}
	b := make([]byte, 10)
	oob := make([]byte, 10)
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() error{
		"Read":                 func() error { _, err := conn.Read(b); return err },
		"ReadFrom":             func() error { _, _, err := conn.ReadFrom(b); return err },
		"ReadFromUDP":          func() error { _, _, err := conn.ReadFromUDP(b); return err },
		"ReadFromUDPAddrPort":  func() error { _, _, err := conn.ReadFromUDPAddrPort(b); return err },
		"ReadMsgUDP":           func() error { _, _, _, _, err := conn.ReadMsgUDP(b, oob); return err },
		"ReadMsgUDPAddrPort":   func() error { _, _, _, _, err := conn.ReadMsgUDPAddrPort(b, oob); return err },
		"SyscallConn().Read()": func() error { return raw.Read(func(uintptr) bool { return true }) },
	} {
		t.Run(name, func(t *testing.T) {
			io.WriteString(client, "packet")
			if err := read(); err != nil {
				t.Fatal(err)
			}
			p.Quiesce()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			if err := p.Drain(ctx); err == nil {
				t.Error("did not wait for the packet that was read")
			}
			result := make(chan error, 1)
			go func() { result <- read() }()
			if err := p.Drain(context.Background()); err != nil {
				t.Error(err)
			}
			conn.SetReadDeadline(time.Now())
			wantResult(t, result, os.ErrDeadlineExceeded)
			conn.SetReadDeadline(time.Time{})
			io.WriteString(client, "packet")
			go func() { result <- read() }()
			p.Resume()
			wantResult(t, result, nil)
		})
	}
}
