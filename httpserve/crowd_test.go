//go:build linux

package httpserve_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
)

// startWebWithLimit starts the daemon with that RLIMIT_NOFILE.
func startWebWithLimit(t *testing.T, nofile int) (d *Daemon, address string) {
	t.Helper()
	d = New(t, "web")
	d.Setenv(networkEnv + "=tcp")
	d.Setenv(addressEnv + "=127.0.0.1:0")
	d.Cmd.Path = "/bin/sh"
	d.Cmd.Args = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0"`, nofile), d.Path}
	d.Start()
	return d, d.Want("ready")
}

// restartCrowd restarts the daemon twice, on trial and not, and checks that each connection
// is there afterwards.
func restartCrowd(t *testing.T, d *Daemon, generation int, conns []*client) {
	t.Helper()
	for _, trial := range []bool{false, true} {
		if trial && !handover.CanRollBack {
			return
		}
		if trial {
			d.Ask("trial", "done")
		}
		generation++
		d.Restart()
		d.Want("ready")
		for i, c := range conns {
			if _, err := c.Write([]byte(askGeneration)); err != nil {
				t.Fatalf("connection %d of %d after restart %d: %v", i, len(conns), generation, err)
			}
		}
		for _, c := range conns {
			c.want(strconv.Itoa(generation))
		}
	}
	if log := d.Log(); strings.Contains(log, "level=WARN") {
		t.Errorf("the daemon warns: %s", log)
	}
}

// Idle connections that fill more than half of the descriptor table cross all the same.
func TestIdleConnectionsFillTheDescriptorTable(t *testing.T) {
	for _, test := range []struct{ nofile, idle int }{{1024, 620}, {2000, 1000}, {1024, 980}} {
		t.Run(fmt.Sprintf("%d of %d", test.idle, test.nofile), func(t *testing.T) {
			d, address := startWebWithLimit(t, test.nofile)
			var conns []*client
			for range test.idle {
				c := connect(t, address)
				c.send(askGeneration)
				c.want("0")
				conns = append(conns, c)
			}
			restartCrowd(t, d, 0, conns)
		})
	}
}
