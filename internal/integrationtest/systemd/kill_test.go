//go:build linux && !autorestart_portable

package systemd_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const restartDelay = 100 * time.Millisecond // RestartSec of the unit

// killable is the unit of a daemon with two listeners and other files, under load.
func killable(t *testing.T, name string, port int, options string) (d *daemon, c *clients) {
	t.Helper()
	address, path := "127.0.0.1:"+strconv.Itoa(port), "/run/"+name+"/sock"
	d = newCrashing(t, name, address+","+path+" -files",
		"FileDescriptorStoreMax=20\nRuntimeDirectory="+name+"\nRuntimeDirectoryPreserve=restart\n"+options)
	d.address = address
	return d, newClients(t, d, address, path)
}

// page returns a page that does not change the daemon.
func (d *daemon) page(name string) string {
	d.t.Helper()
	page, err := d.get(name)
	if err != nil {
		d.t.Fatal(err)
	}
	return page
}

// A daemon that ends at any moment under load refuses no client. Clients in the queues are answered, and files and state are
// as they were last set. Deploys in between restart in place, and lose no request.
func TestKills(t *testing.T) {
	systemdtest.Machine(t)
	kills := testprocess.FromEnv(t, "AUTORESTART_TEST_KILLS", 12)
	t.Run("crash", func(t *testing.T) {
		_, c := killable(t, "crashes", 8110, "")
		c.kill(kills, slices.Concat(crashes, momentsOfKills))
	})
	t.Run("watchdog", func(t *testing.T) {
		d, c := killable(t, "watchdog", 8113, "WatchdogSec=2\n")
		n := max(kills/5, len(watchdogs))
		c.kill(n, watchdogs)
		if timeouts := strings.Count(d.Log(t, d.unit), "Watchdog timeout"); timeouts != n {
			t.Errorf("systemd has ended %d of %d processes", timeouts, n)
		}
	})
	t.Run("memory", func(t *testing.T) {
		memory := systemdtest.Machine(t).Memory(t) // skips
		_, c := killable(t, "memory", 8114, memory.Options())
		n := max(kills/5, 1)
		c.kill(n, oomKills(memory))
		if killed := memory.Kills(t); killed != n {
			t.Errorf("the kernel has killed %d of %d processes", killed, n)
		}
	})
}

// kill ends the daemon that often, by each of the ends in turn.
func (c *clients) kill(kills int, ends []end) {
	c.t.Helper()
	files := c.d.page("/files")
	var outages, walls []time.Duration
	cut := map[string]int{}
	for n := range kills {
		end := ends[n%len(ends)]
		c.await(rand.IntN(50))
		before, pid := c.wereCut(), c.d.process()
		took, wall := c.during(func() { end.end(c, pid) })
		if took > restartDelay+time.Second {
			c.t.Errorf("served again %v after the end by %s", took, end.by)
		}
		outages, walls = append(outages, took), append(walls, wall)
		cut[end.by] += c.wereCut() - before
		if n%4 == 3 {
			version := n + 2000
			c.d.deploy(version)
			c.d.WantLogged(c.t, c.d.unit, "serving version="+strconv.Itoa(version)+" generation=1")
			c.await(2 * len(c.all)) // none is cut
		}
		if got := c.d.page("/files"); got != files {
			c.t.Fatalf("after the end by %s the files contain %q, expected %q", end.by, got, files)
		}
	}
	c.stop()
	c.check()
	c.t.Logf("%d kills, 0 of %d requests refused, %d cut %v; the count is %d; "+
		"all served again after %v (median), %v (longest); by the wall clock %v, %v",
		kills, c.answered+c.cut, c.cut, cut, c.highest, testprocess.Quantile(outages, 0.5), testprocess.Quantile(outages, 1),
		testprocess.Quantile(walls, 0.5), testprocess.Quantile(walls, 1))
}
