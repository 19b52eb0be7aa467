package sockets

import (
	"bytes"
	"io"
	"net"
	"strings"
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

// What the previous version has read of a connection is read first, by each way to read.
func TestEveryReadBeginsWithUnread(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = t.TempDir() + "/socket"
			}
			ln, err := Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			reads := map[string]func(conn net.Conn, b []byte) (int, error){
				"Read": net.Conn.Read,
				"io.Copy": func(conn net.Conn, b []byte) (int, error) {
					var w bytes.Buffer
					_, err := io.Copy(&w, conn)
					return copy(b, w.Bytes()), err
				},
				"ReadMsgUnix": func(conn net.Conn, b []byte) (int, error) {
					n, _, _, _, err := conn.(*unixConn).ReadMsgUnix(b, nil)
					return n, err
				},
				"ReadFromUnix": func(conn net.Conn, b []byte) (int, error) {
					n, _, err := conn.(*unixConn).ReadFromUnix(b)
					return n, err
				},
				"ReadFrom": func(conn net.Conn, b []byte) (int, error) {
					n, _, err := conn.(net.PacketConn).ReadFrom(b)
					return n, err
				},
			}
			for name, read := range reads {
				if network == "tcp" && strings.HasPrefix(name, "Read") && name != "Read" {
					continue
				}
				client, err := net.Dial(network, ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				client.Write([]byte("new"))
				client.Close()
				conn, err := ln.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				streamOf(conn).beginning.unread = []byte("read before, ")
				var got []byte
				for b := make([]byte, 100); ; {
					n, err := read(conn, b)
					got = append(got, b[:n]...)
					if n == 0 || err != nil {
						break
					}
				}
				if string(got) != "read before, new" {
					t.Errorf("%s returns %q", name, got)
				}
			}
		})
	}
}

func streamOf(conn net.Conn) *stream {
	switch conn := conn.(type) {
	case *tcpConn:
		return conn.stream
	case *unixConn:
		return conn.stream
	}
	return nil
}
