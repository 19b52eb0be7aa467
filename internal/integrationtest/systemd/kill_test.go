//go:build linux && !autorestart_portable

package systemd_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The versions of testdata/crashing that differ from the others.
const slow = 500 // waits for the file "go"

const restartDelay = 100 * time.Millisecond // RestartSec of the unit

// killable is the unit of a daemon with two listeners and other files, under load.
func killable(t *testing.T, name string, port int) (d *daemon, c *clients) {
	t.Helper()
	address, path := "127.0.0.1:"+strconv.Itoa(port), "/run/"+name+"/sock"
	d = newCrashing(t, name, address+","+path+" -files",
		"FileDescriptorStoreMax=20\nRuntimeDirectory="+name+"\nRuntimeDirectoryPreserve=restart\n")
	d.address = address
	return d, newClients(t, d, address, path)
}

// kill sends a signal to the main process.
func (d *daemon) kill(signal string) {
	d.t.Helper()
	d.Run(d.t, "sh", "-c", "kill -"+signal+" "+d.Property(d.t, d.unit, "MainPID"))
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

// ends are the ways in which a daemon ends.
var ends = map[string]func(d *daemon, c *clients){
	"SIGKILL": func(d *daemon, _ *clients) { d.kill("KILL") },
	"panic":   func(d *daemon, _ *clients) { d.get("/crash?by=panic") },
	"os.Exit": func(d *daemon, _ *clients) { d.get("/crash?by=exit") },
	"SIGSEGV": func(d *daemon, _ *clients) { d.kill("SEGV") },
	"stopped": killStopped,
	"deploy":  killDeploying,
}

var kindsOfEnds = []string{"SIGKILL", "panic", "os.Exit", "SIGSEGV", "stopped", "deploy"}

// killDeploying kills the daemon at some moment of a restart in place, which takes some 30 ms.
func killDeploying(d *daemon, _ *clients) {
	d.t.Helper()
	pid := d.processes()
	d.deploy(1000 + rand.IntN(1000))
	time.Sleep(rand.N(60 * time.Millisecond))
	if err := syscall.Kill(pid[0], syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
}

// processes returns the processes of the unit, as this process sees them.
func (d *daemon) processes() (pids []int) {
	d.t.Helper()
	group := d.Property(d.t, d.unit, "ControlGroup")
	content := testprocess.ReadFile(d.t, d.Path("/sys/fs/cgroup"+group+"/cgroup.procs"))
	for _, text := range strings.Fields(string(content)) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			d.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// killStopped kills the daemon while it is stopped, with clients in the queues of both listeners. None of them is cut.
func killStopped(d *daemon, c *clients) {
	d.t.Helper()
	d.kill("STOP")
	pid := d.Property(d.t, d.unit, "MainPID")
	testprocess.WaitFor(d.t, "stopped threads", func() bool {
		for _, stat := range testprocess.Glob(d.t, "%s", d.Path("/proc/"+pid+"/task/*/stat")) {
			content, err := os.ReadFile(stat)
			if _, state, _ := strings.Cut(string(content), ") "); err != nil || !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return true
	})
	c.mu.Lock()
	n := len(c.all)
	addresses := []string{c.all[0].address, c.all[n-1].address}
	c.mu.Unlock()
	for i := range 20 {
		// No end of the server may cut it.
		one := &client{address: addresses[i%2], cut: true}
		c.connect(one)
		c.start(one, 1)
	}
	d.kill("KILL")
	testprocess.WaitFor(d.t, "responses to the clients of the queue", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, one := range c.all[n:] {
			if !one.served {
				return len(c.problems) > 0
			}
		}
		return true
	})
	c.forget(n)
}

// A daemon that ends at any moment under load refuses nobody. What waits in the queues is answered, and what the daemon keeps
// is as it was last set. Deploys in between restart in place, and lose nothing.
func TestKills(t *testing.T) {
	kills := testprocess.FromEnv(t, "AUTORESTART_TEST_KILLS", 12)
	d, c := killable(t, "kills", 8110)
	files := d.page("/files")
	var outages, walls []time.Duration
	cut := map[string]int{}
	for n := range kills {
		kind := kindsOfEnds[n%len(kindsOfEnds)]
		c.await(rand.IntN(50))
		before := c.wereCut()
		took, wall := c.during(func() { ends[kind](d, c) })
		if took > restartDelay+time.Second {
			t.Errorf("served again %v after the end by %s", took, kind)
		}
		outages, walls = append(outages, took), append(walls, wall)
		cut[kind] += c.wereCut() - before
		if n%4 == 3 {
			version := n + 2000
			d.deploy(version)
			d.WantLogged(t, d.unit, "serving version="+strconv.Itoa(version)+" generation=1")
			c.await(2 * len(c.all)) // none is cut
		}
		if got := d.page("/files"); got != files {
			t.Fatalf("the files contain %q, expected %q", got, files)
		}
	}
	c.stop()
	c.check()
	t.Logf("%d kills, 0 of %d requests refused, %d cut %v; the count is %d; "+
		"served again after %v (median), %v (longest); by the wall clock %v, %v",
		kills, c.answered+c.cut, c.cut, cut, c.highest, testprocess.Quantile(outages, 0.5), testprocess.Quantile(outages, 1),
		testprocess.Quantile(walls, 0.5), testprocess.Quantile(walls, 1))
}

// A daemon that is killed while a version is on trial, and while it is drained, keeps what it has.
func TestKillsWithinRestart(t *testing.T) {
	d, c := killable(t, "killedwithin", 8111)
	files := d.page("/files")
	file := func(name string) string { return filepath.Join(filepath.Dir(d.path), name) }

	d.deploy(slow)
	d.WantLogged(t, d.unit, "msg=waiting generation=1")
	c.during(func() {
		d.kill("KILL")
		d.WantLogged(t, d.unit, "msg=waiting generation=0") // of the process that systemd has started
		d.WriteFile(t, file("go"), 0o644, nil)
	})

	c.during(func() {
		held := make(chan error)
		go func() {
			_, err := d.get("/hold")
			held <- err
		}()
		d.WantLogged(t, d.unit, "holding a request")
		d.deploy(2)
		testprocess.WaitFor(t, "drain", func() bool {
			return strings.Contains(d.Property(t, d.unit, "StatusText"), "is being replaced")
		})
		d.kill("KILL")
		if err, _ := testprocess.Receive(t, "end of a held request", held); err == nil {
			t.Error("the held request was answered")
		}
	})
	if version, now := d.page("/"), d.page("/files"); version != "2" || now != files {
		t.Errorf("version %s serves, the files contain %q, expected %q", version, now, files)
	}
	c.stop()
	c.check()
}

// systemctl restart keeps the store. systemctl stop keeps it where the unit asks for that, and is enabled: otherwise systemd
// forgets the unit.
func TestStoreOverRestartAndStop(t *testing.T) {
	for name, keeps := range map[string]bool{"restart": false, "yes": true} {
		t.Run(name, func(t *testing.T) {
			d := newCrashing(t, "preserve-"+name, "127.0.0.1:8112",
				"FileDescriptorStoreMax=20\nFileDescriptorStorePreserve="+name+"\n[Install]\nWantedBy=multi-user.target\n")
			d.Run(t, "systemctl", "enable", d.unit)
			t.Cleanup(func() { d.Run(t, "systemctl", "disable", d.unit) })
			want := func(count int) {
				t.Helper()
				if got, err := d.get("/count"); got != fmt.Sprint(count) || err != nil {
					t.Errorf("%q, %v; expected %d", got, err, count)
				}
			}
			want(1)
			d.Run(t, "systemctl", "restart", d.unit)
			want(2)
			d.Run(t, "systemctl", "stop", d.unit)
			stored := d.Property(t, d.unit, "NFileDescriptorStore")
			if (stored != "0") != keeps {
				t.Errorf("systemd has %s files of the stopped unit", stored)
			}
			d.Run(t, "systemctl", "start", d.unit)
			if keeps {
				want(3)
			} else {
				want(1)
			}
		})
	}
}
