//go:build linux

package quicserve_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Clients with idle connections get a GOAWAY, and begin new ones. They use the same address.
func TestClientsAreServedAfterRestart(t *testing.T) {
	d, address := start(t)
	var clients []*client
	for range 20 {
		clients = append(clients, newClient(t, address))
	}
	for generation := range 3 {
		for _, c := range clients {
			c.want(t, "/", fmt.Sprint(generation))
		}
		restart(d)
	}
	for _, c := range clients {
		c.want(t, "/", "3")
		if !c.resumed {
			t.Error("the TLS session of a client has not resumed")
		}
	}
}

// A request that the old version has got is answered by it, and one on a new connection by the next
// version.
func TestRequestsDuringDrain(t *testing.T) {
	d, address := start(t)
	old, new := newClient(t, address), newClient(t, address)
	answer := make(chan string, 2)
	get := func(c *client, path string) {
		got, err := c.get(path)
		answer <- fmt.Sprintf("%s %v", got, err)
	}
	go get(old, "/slow")
	d.Want("slow")
	d.Tell("restart")
	d.Want("draining")
	go get(new, "/")
	if text := d.Ask("continue", "start"); text == "" {
		t.Error("no status")
	}
	d.Want("open")
	d.Ask("serve", "done")
	if got, _ := testprocess.Receive(t, "answer", answer); got != "0 <nil>" {
		t.Errorf("the old version answered %q", got)
	}
	if got, _ := testprocess.Receive(t, "answer", answer); got != "1 <nil>" {
		t.Errorf("the new version answered %q", got)
	}
}

// If a restart is called off, clients are served on, also those on new connections.
func TestRestartIsCalledOff(t *testing.T) {
	d, address := start(t)
	c := newClient(t, address)
	for range 3 {
		c.want(t, "/", "0")
		d.Ask("restart-off", "draining")
		c.want(t, "/", "0")
		if text := d.Want("off"); text != "context canceled" {
			t.Fatal(text)
		}
		c.want(t, "/", "0")
		newClient(t, address).want(t, "/", "0")
	}
}

// A version that fails is rolled back. Clients are served again by the previous one.
func TestRollback(t *testing.T) {
	d, address := start(t)
	c := newClient(t, address)
	c.want(t, "/", "0")
	d.Ask("trial", "done")
	d.Tell("restart")
	d.Want("draining")
	d.NextStart()
	d.Want("open")
	d.Tell("fail")
	d.Want("draining")
	d.NextStart()
	d.Want("open")
	d.Ask("serve", "done")
	c.want(t, "/", "2")
}

// A connection of which the next version knows nothing is reset when the client sends something: the
// next version has the same key.
func TestConnectionIsResetWithoutGoodbye(t *testing.T) {
	d := Start(t, "serve")
	address := d.Want("open")
	d.Ask("serve-without-goodbye", "done")
	c := newClient(t, address)
	c.want(t, "/", "0")
	restart(d)
	answer, err := c.get("/")
	if _, reset := errors.AsType[*quic.StatelessResetError](err); !reset {
		t.Errorf("answered %q, %v", answer, err)
	}
	c.want(t, "/", "1")
}

// A handler that does not return is cut off after the DrainTimeout.
func TestHandlerThatDoesNotReturn(t *testing.T) {
	d, address := start(t)
	c := newClient(t, address)
	answer := make(chan error, 1)
	go func() {
		_, err := c.get("/slow")
		answer <- err
	}()
	d.Want("slow")
	d.Ask("limit 50ms", "done")
	restart(d)
	d.WantLogged("drain timeout")
	if strings.Contains(d.Log(), "a Drainer does not return") {
		t.Error("the Drainer does not return")
	}
	if err, _ := testprocess.Receive(t, "end of the request", answer); err == nil {
		t.Error("a request was answered that was cut off")
	}
	c.want(t, "/", "1")
}

// With Overlap, the packets of the old version's connections arrive in the stand-in, and those of the
// stand-in's in the new version. Their clients notice that when they send something, and then are served.
func TestOverlap(t *testing.T) {
	d, address := start(t)
	var clients []*client
	for range 5 {
		c := newClient(t, address)
		c.want(t, "/", "0")
		clients = append(clients, c)
	}
	d.Ask("overlap", "done")
	d.Tell("restart")
	for event := ""; event != "open"; event, _ = d.Next() {
	}
	beside := newClient(t, address)
	beside.want(t, "/", "1") // by the stand-in
	d.Ask("serve", "done")
	for _, c := range append(clients, beside) {
		var answer string
		WaitFor(t, "answer", func() bool {
			var err error
			answer, err = c.get("/")
			return err == nil
		})
		if answer != "1" {
			t.Errorf("answered %q", answer)
		}
	}
}
