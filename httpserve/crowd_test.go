//go:build linux

package httpserve_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
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
		if trial && handover.CanRollBack {
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
			for line := range strings.Lines(d.Log()) {
				// A machine that is busy may need longer for them than the second that each Drainer has.
				if strings.Contains(line, "level=WARN") && !strings.Contains(line, "a Drainer does not return") {
					t.Errorf("the daemon warns: %s", line)
				}
			}
		})
	}
}

// Clients that connect until none is answered any more leave the descriptors that a restart needs.
// Those that wait are served when others have gone.
func TestClientsCannotPreventRestart(t *testing.T) {
	const nofile = 256
	d, address := startWebWithLimit(t, nofile)
	var conns []*client
	var waiting *client
	for waiting == nil {
		c := connect(t, address)
		c.send(askGeneration)
		stop := testprocess.LimitIO(c, 200*time.Millisecond)
		switch resp, err := http.ReadResponse(c.r, nil); {
		case err == nil:
			resp.Body.Close()
			conns = append(conns, c)
		case errors.Is(err, os.ErrDeadlineExceeded):
			waiting = c
		default:
			t.Fatal(err)
		}
		stop()
		c.SetDeadline(time.Time{})
	}
	if n := len(conns); n < nofile/2 || n > nofile-16 {
		t.Errorf("%d clients are answered, with a limit of %d", n, nofile)
	}
	restartCrowd(t, d, 0, conns)
	conns[0].Close()
	waiting.wantAny()
	restartCrowd(t, d, 2, append(conns[1:], waiting))
}
