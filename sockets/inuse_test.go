//go:build unix

package sockets

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// onAttempt returns a Config that calls f with the number of an attempt before its socket is bound.
func onAttempt(f func(n int)) *Config {
	n := 0
	return &Config{ListenConfig: net.ListenConfig{Control: func(string, string, syscall.RawConn) error {
		n++
		f(n)
		return nil
	}}}
}

// opens are the calls that open a socket, and the same of package net.
var opens = map[string]struct {
	open func(c *Config, ctx context.Context, address string) (io.Closer, error)
	busy func() (socket io.Closer, address net.Addr, err error)
}{
	"tcp": {
		func(c *Config, ctx context.Context, address string) (io.Closer, error) {
			return c.Listen(ctx, "tcp", address)
		},
		func() (io.Closer, net.Addr, error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			return l, l.Addr(), err
		},
	},
	"udp": {
		func(c *Config, ctx context.Context, address string) (io.Closer, error) {
			return c.ListenPacket(ctx, "udp", address)
		},
		func() (io.Closer, net.Addr, error) {
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			return conn, conn.LocalAddr(), err
		},
	},
}

// A process that stands in for one that is dead is about to close its copy of the socket.
func TestAddressInUseIsTriedAgain(t *testing.T) {
	for network, c := range opens {
		t.Run(network, func(t *testing.T) {
			busy, address, err := c.busy()
			if err != nil {
				t.Fatal(err)
			}
			socket, err := c.open(onAttempt(func(n int) {
				if n == 2 {
					busy.Close()
				}
			}), t.Context(), address.String())
			if err != nil {
				t.Fatal(err)
			}
			socket.Close()
		})
	}
}

func TestAddressInUseForLong(t *testing.T) {
	for network, c := range opens {
		t.Run(network, func(t *testing.T) {
			busy, address, err := c.busy()
			if err != nil {
				t.Fatal(err)
			}
			defer busy.Close()
			start := time.Now()
			if _, err = c.open(new(Config), t.Context(), address.String()); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%v, want %v", err, syscall.EADDRINUSE)
			}
			if took := time.Since(start); took < inUseLimit {
				t.Errorf("gave up after %v", took)
			}
		})
	}
}

func TestAddressInUseUntilContextEnds(t *testing.T) {
	for network, c := range opens {
		t.Run(network, func(t *testing.T) {
			busy, address, err := c.busy()
			if err != nil {
				t.Fatal(err)
			}
			defer busy.Close()
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			_, err = c.open(onAttempt(func(attempt int) {
				if n = attempt; n == 2 {
					cancel()
				}
			}), ctx, address.String())
			if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, context.Canceled) || n != 2 {
				t.Errorf("%d attempts, %v, want 2, %v", n, err, syscall.EADDRINUSE)
			}
		})
	}
}
