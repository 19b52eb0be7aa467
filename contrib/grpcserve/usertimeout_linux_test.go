package grpcserve

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// Connections of package sockets, and those of other listeners, have the timeout that package grpc
// sets for the connections of package net.
func TestConnectionsHaveUserTimeout(t *testing.T) {
	for name, tt := range map[string]struct {
		network, address string
		listen           func(network, address string) (net.Listener, error)
		want             int // ms; 0 where there is none
	}{
		"sockets": {"tcp", "127.0.0.1:0", sockets.Listen, 7000},
		"net":     {"tcp", "127.0.0.1:0", net.Listen, 7000},
		"unix":    {"unix", filepath.Join(t.TempDir(), "socket"), sockets.Listen, 0},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := tt.listen(tt.network, tt.address)
			if err != nil {
				t.Fatal(err)
			}
			s := grpc.NewServer(grpc.KeepaliveParams(keepalive.ServerParameters{Timeout: 7 * time.Second}))
			served := make(chan error)
			go func() { served <- Serve(s, ln) }()
			c, err := net.Dial(tt.network, ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var conns []*conn
			testprocess.WaitFor(t, "connection", func() bool {
				servers.Lock()
				defer servers.Unlock()
				if srv := servers.m[s]; srv != nil {
					conns = srv.connections()
				}
				return len(conns) > 0
			})
			raw, err := conns[0].SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != 0 {
				raw.Control(func(fd uintptr) {
					if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != tt.want || err != nil {
						t.Errorf("TCP_USER_TIMEOUT is %d, %v; want %d", got, err, tt.want)
					}
				})
			}
			if got := conns[0].NetConn().RemoteAddr().Network(); got != tt.network {
				t.Errorf("the connection is of network %s", got)
			}
			c.Close() // Stop waits for handshakes
			s.Stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
