//go:build linux

package sockets

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
)

// A newSocket is one that a stand-in opens, and the main process has not.
type newSocket struct {
	name string
	open func() (io.Closer, net.Addr, error)
}

func newSockets(t *testing.T) []newSocket {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	listen := func(network, address string) func() (io.Closer, net.Addr, error) {
		return func() (io.Closer, net.Addr, error) {
			l, err := Listen(network, address)
			if err != nil {
				return nil, nil, err
			}
			return l, l.Addr(), nil
		}
	}
	return []newSocket{
		{"tcp", listen("tcp", free.Addr().String())},
		{"unix", listen("unix", filepath.Join(t.TempDir(), "socket"))},
		{"udp", func() (io.Closer, net.Addr, error) {
			conn, err := ListenPacket("udp", free.Addr().String())
			if err != nil {
				return nil, nil, err
			}
			return conn, conn.LocalAddr(), nil
		}},
	}
}

// The next version listens where only its stand-in does.
func TestAddressOfStandInIsThatOfNextVersion(t *testing.T) {
	for _, s := range newSockets(t) {
		t.Run(s.name, func(t *testing.T) {
			p := imagetest.Start(t)
			first, second := image.Current(), p.StartBeside()
			second.Use()
			here, address, err := s.open()
			if err != nil {
				t.Fatal(err)
			}
			defer here.Close()
			second.Beside.SetGive(imagetest.GiveTo(first))
			second.Beside.Share()
			first.Use()
			p.AwaitExec(func() error { return new(autorestart.Restarter).Restart(t.Context()) })
			again, there, err := s.open()
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if there.String() != address.String() {
				t.Errorf("opened %s, want %s", there, address)
			}
			if l, ok := again.(*listener); ok {
				dialAddress(t, address)
				wantResult(t, accept(l), nil)
			}
		})
	}
}

// The main process closes the sockets of a stand-in that is not needed any more.
func TestAddressOfStandInIsFreeAfterRestartIsCalledOff(t *testing.T) {
	for _, s := range newSockets(t) {
		t.Run(s.name, func(t *testing.T) {
			p := imagetest.Start(t)
			first, second := image.Current(), p.StartBeside()
			second.Use()
			here, _, err := s.open()
			if err != nil {
				t.Fatal(err)
			}
			second.Beside.SetGive(imagetest.GiveTo(first))
			second.Beside.Share()
			if names := first.Store.Names(); len(names) != 1 {
				t.Errorf("the main process passes %q on", names)
			}
			first.Beside.SetServes(false)
			if names := first.Store.Names(); len(names) > 0 {
				t.Errorf("passed on: %q", names)
			}
			here.Close() // the stand-in ends
			for _, name := range second.Store.Names() {
				second.Store.Unpass(name)
			}
			first.Use()
			again, _, err := s.open()
			if err != nil {
				t.Fatal(err)
			}
			again.Close()
		})
	}
}

// A newer version may come while the main process drains. What its stand-in opens is that version's,
// too. If it fails, what the stand-in that serves has opened stays.
func TestAddressOfNewerStandIn(t *testing.T) {
	for _, s := range newSockets(t) {
		t.Run(s.name, func(t *testing.T) {
			p := imagetest.Start(t)
			first := image.Current()
			share := func(i *image.Image, open func() (io.Closer, net.Addr, error)) {
				t.Helper()
				i.Use()
				here, _, err := open()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { here.Close() })
				i.Beside.SetGive(imagetest.GiveTo(first))
				i.Beside.Share()
				first.Use()
			}
			want := func(n int) {
				t.Helper()
				if names := first.Store.Names(); len(names) != n {
					t.Errorf("the main process passes %q on, want %d", names, n)
				}
			}
			second := p.StartBeside()
			share(second, newSockets(t)[1].open)
			first.Beside.SetServes(true)
			d, err := first.Drainers.Begin(t.Context(), time.Minute, nil)
			if err != nil {
				t.Fatal(err)
			}
			third := p.StartBeside()
			share(third, s.open)
			want(2)
			first.Beside.Reject()
			want(1)
			third.Beside.Share()
			first.Beside.SetServes(true)
			first.Beside.Reject()
			want(2)
			d.Resume()
			first.Beside.SetServes(false)
			want(0)
		})
	}
}

// A socket gets another number if the main process has one with its own.
func TestSharedSocketTakesNoName(t *testing.T) {
	b := startBesides(t)
	b.to.inherited = false
	b.second.Beside.SetGive(imagetest.GiveTo(b.first))
	b.second.Beside.Share()
	if keys := b.from.registry.inheritedKeys(); len(keys) != 2 || keys[0].slot() == keys[1].slot() {
		t.Errorf("passed on: %v", keys)
	}
	b.first.Beside.SetServes(false)
	if keys := b.from.registry.inheritedKeys(); len(keys) != 1 || keys[0] != b.from.key {
		t.Errorf("passed on: %v", keys)
	}
}
