//go:build linux

package httpserve_test

import (
	"testing"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// A version that is rolled back before it has accepted the idle connections gives them back.
func TestIdleConnectionsGoBackInRollback(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	d, address := startWeb(t)
	used, fresh := connect(t, address), connect(t, address)
	used.send(askGeneration)
	used.want("0")
	d.Ask("next failing", "done")
	d.Restart()
	d.NextStart() // of the version before
	d.Want("ready")
	for _, c := range []*client{used, fresh} {
		c.send(askGeneration)
		c.want("2")
	}
}

// A version that is rolled back while it serves hands its idle connections back, also those that
// it has accepted itself, and what it has read of requests.
func TestIdleConnectionsOfServingVersionGoBackInRollback(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	d, address := startWeb(t)
	used, half := connect(t, address), connect(t, address)
	used.send(askGeneration)
	used.want("0")
	half.send(askGeneration[:20])
	d.Ask("next unready", "done")
	d.Restart()
	d.Want("ready")
	used.send(askGeneration)
	used.want("1")
	late, lateHalf := connect(t, address), connect(t, address)
	for _, c := range []*client{late, lateHalf} {
		c.send(askGeneration)
		c.want("1")
	}
	half.send(askGeneration[20:30])
	lateHalf.send(askGeneration[:30])
	d.Tell("fail")
	d.NextStart() // of the version before
	d.Want("ready")
	for _, c := range []*client{used, late} {
		c.send(askGeneration)
		c.want("2")
	}
	for _, c := range []*client{half, lateHalf} {
		c.send(askGeneration[30:])
		c.want("2")
	}
}
