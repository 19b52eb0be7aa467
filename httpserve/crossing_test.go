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
	d.Ask("next-fails", "done")
	d.Restart()
	d.NextStart() // of the version before
	d.Want("ready")
	for _, c := range []*client{used, fresh} {
		c.send(askGeneration)
		c.want("2")
	}
}
