//go:build linux

package sockets

import (
	"context"
	"io"
	"net"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// waitForTurn begins a drain that gives one of the idle connections, and no other one until give
// receives a value.
func waitForTurn(t *testing.T, n int) (b *besides, clients []net.Conn, read <-chan error, callOff func()) {
	t.Helper()
	b = startBesides(t)
	readers := make(chan error, n)
	for range n {
		client, _, read := b.idle("")
		clients = append(clients, client)
		go func() { readers <- <-read }()
	}
	given, answer := make(chan bool), make(chan bool)
	b.serve(func(image.Conn) error {
		given <- true
		<-answer
		return image.ErrLost // no other one is given
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		defer close(ended)
		if d, err := b.first.Drainers.Begin(ctx, time.Hour, nil); err == nil {
			d.Resume()
		}
	}()
	testprocess.Receive(t, "connection that is given", given)
	return b, clients, readers, func() {
		t.Helper()
		cancel()
		testprocess.Receive(t, "end of the drain", ended)
		close(answer)
	}
}

// A connection that waits for its turn is served here.
func TestIdleConnectionIsServedUntilItsTurn(t *testing.T) {
	const n = 10
	_, clients, read, callOff := waitForTurn(t, n)
	for _, client := range clients {
		io.WriteString(client, "request")
	}
	for range n / 2 { // without the one that is being given, and those whose readers come late
		if err, _ := testprocess.Receive(t, "request", read); err != nil {
			t.Error(err)
		}
	}
	callOff()
	for range n - n/2 {
		if err, _ := testprocess.Receive(t, "request", read); err != nil {
			t.Error(err)
		}
	}
}

// A drain that is called off leaves those alone that have not had their turn.
func TestNoTurnAfterDrain(t *testing.T) {
	const n = 10
	b, clients, read, callOff := waitForTurn(t, n)
	callOff()
	testprocess.WaitFor(t, "end of the giver", func() bool {
		g := &b.from.registry.giver
		g.mu.Lock()
		defer g.mu.Unlock()
		return !g.running
	})
	for _, client := range clients {
		io.WriteString(client, "request")
		if err, _ := testprocess.Receive(t, "request", read); err != nil {
			t.Error(err)
		}
	}
	wantConnections(t, b.first)
}

// What has not had its turn when the time is over crosses the exec.
func TestIdleConnectionsCrossWhenTimeIsUp(t *testing.T) {
	b := startBesides(t)
	const n = 3
	for range n {
		b.idle("")
	}
	answer := make(chan bool)
	b.serve(func(image.Conn) error {
		<-answer
		return image.ErrNotTaken
	})
	if _, err := b.first.Drainers.Begin(t.Context(), time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}
	testprocess.WaitFor(t, "all connections", func() bool { return len(connectionsOf(b.first)) == n })
	close(answer)
}

// A program calls Serve soon after Ready. A connection that was not taken before is offered again
// soon, before those that wait for their turn.
func TestRefusedConnectionIsOfferedBeforeOthers(t *testing.T) {
	b := startBesides(t)
	const n = 200
	for range n {
		b.idle("")
	}
	var clients []syscall.Sockaddr // in the order of the offers
	b.serve(func(c image.Conn) error {
		client, err := syscall.Getpeername(c.FD)
		if err != nil {
			t.Error(err)
		}
		if clients = append(clients, client); len(clients) == 1 {
			return image.ErrNotTaken
		}
		return imagetest.GiveTo(b.second)(c)
	})
	b.drain()
	again := slices.IndexFunc(clients[1:], func(client syscall.Sockaddr) bool {
		return reflect.DeepEqual(client, clients[0])
	})
	if again < 0 || again > n/2 {
		t.Errorf("the connection that was refused comes again after %d of %d", again, n)
	}
}
