//go:build unix

package sockets

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/activation"
)

// fileOf returns a duplicate of what a listener or connection of package net has open.
func fileOf(t *testing.T, s any, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestNetworkAndAddress: an announced socket is described as package net would.
func TestNetworkAndAddress(t *testing.T) {
	dir := t.TempDir()
	abstract := "@autorestart-address-" + strconv.Itoa(os.Getpid())
	addresses := []struct{ network, address string }{
		{"tcp", ":0"},
		{"tcp", "127.0.0.1:0"},
		{"tcp4", ":0"},
		{"tcp6", "[::1]:0"},
		{"tcp6", "[::ffff:127.0.0.1]:0"},
		{"unix", filepath.Join(dir, "a stream")},
		{"unix", abstract},
		{"unixpacket", filepath.Join(dir, "packets")},
		{"udp", ":0"},
		{"udp", "127.0.0.1:0"},
		{"udp6", "[::1]:0"},
		{"unixgram", filepath.Join(dir, "datagrams")},
	}
	if ifis, err := net.Interfaces(); err == nil {
		for _, ifi := range ifis {
			addrs, _ := ifi.Addrs()
			for _, addr := range addrs {
				if ip, ok := addr.(*net.IPNet); ok && ip.IP.To4() == nil && ip.IP.IsLinkLocalUnicast() {
					addresses = append(addresses, struct{ network, address string }{"tcp6", "[" + ip.IP.String() + "%" + ifi.Name + "]:0"})
				}
			}
		}
	}
	for _, test := range addresses {
		var s io.Closer
		var addr net.Addr
		if strings.HasPrefix(test.network, "udp") || test.network == "unixgram" {
			conn, err := net.ListenPacket(test.network, test.address)
			if err != nil {
				t.Logf("no such socket here: %v", err)
				continue
			}
			s, addr = conn, conn.LocalAddr()
		} else {
			ln, err := net.Listen(test.network, test.address)
			if err != nil {
				t.Logf("no such socket here: %v", err)
				continue
			}
			s, addr = ln, ln.Addr()
		}
		defer s.Close()
		f := fileOf(t, s, nil)
		network, local, err := networkAndAddress(int(f.Fd()))
		if err != nil || network != addr.Network() || local != addr.String() {
			t.Errorf("%v: %s %s, %v; package net says %s %s", test, network, local, err, addr.Network(), addr)
		}
	}
}

func TestNetworkAndAddressOfOtherFiles(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	connection := fileOf(t, client, err)
	defer client.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, f := range map[string]*os.File{"connection": connection, "pipe": r} {
		if network, local, err := networkAndAddress(int(f.Fd())); err == nil {
			t.Errorf("a %s: %s %s", name, network, local)
		}
		if activation.IsPlaceholder(int(f.Fd())) {
			t.Errorf("a %s is a placeholder", name)
		}
	}
}
