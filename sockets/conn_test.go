package sockets

import (
	"io"
	"net"
	"testing"
)

// The methods of the embedded connections work.
func TestConnectionHasMethodsOfPackageNet(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	go func() {
		if client, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			io.Copy(client, client)
			client.Close()
		}
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := conn.(io.ReaderFrom); !ok {
		t.Error("no sendfile")
	}
	if err := conn.(interface{ SetNoDelay(bool) error }).SetNoDelay(true); err != nil {
		t.Error(err)
	}
	io.WriteString(conn, "text")
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(conn); string(b) != "text" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
}
