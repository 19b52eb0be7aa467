//go:build linux && !autorestart_portable

package systemd_test

import (
	"errors"
	"fmt"
	"io/fs"
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

// Kills in a restart in place, in a start, and in an exec of systemd.

// The versions of testdata/crashing that wait for the file "go".
const (
	slow = 500 // before it claims anything
	half = 501 // when it has claimed a listener
)

// file is the path of a file beside the executable.
func (d *daemon) file(name string) string { return filepath.Join(filepath.Dir(d.path), name) }

// A daemon that is killed while a version is on trial, and while it is drained, keeps what it has.
func TestKillsWithinRestart(t *testing.T) {
	d, c := killable(t, "killedwithin", 8111, "")
	files := d.page("/files")

	d.deploy(slow)
	d.WantLogged(t, d.unit, "msg=waiting generation=1")
	c.during(func() {
		d.kill(syscall.SIGKILL)
		d.WantLogged(t, d.unit, "msg=waiting generation=0") // of the process that systemd has started
		d.WriteFile(t, d.file("go"), 0o644, nil)
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
		d.kill(syscall.SIGKILL)
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

// A daemon that is killed again and again before it is ready keeps what it has: when it has claimed nothing, a part, or
// at any moment of its start.
func TestKillsBeforeReady(t *testing.T) {
	for name, test := range map[string]struct {
		version int
		moment  func(d *daemon, starts int)
	}{
		"nothing is claimed": {slow, (*daemon).awaitStarts},
		"half is claimed":    {half, (*daemon).awaitStarts},
		"any moment": {slow, func(*daemon, int) {
			time.Sleep(rand.N(20 * time.Millisecond)) // the start takes about as long
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d, c := killable(t, fmt.Sprintf("starting-%d-%d", test.version, len(name)), 8115, "")
			files, stored := d.page("/files"), d.Property(t, d.unit, "NFileDescriptorStore")
			group := d.Property(t, d.unit, "ControlGroup")
			c.during(func() {
				pid := d.process()
				send(t, pid, syscall.SIGSTOP) // or it would execute the version
				d.deploy(test.version)
				send(t, pid, syscall.SIGKILL)
				for n := 1; n <= 10; {
					pid = d.awaitProcess(group, pid)
					test.moment(d, n)
					switch err := syscall.Kill(pid, syscall.SIGKILL); err {
					case nil:
						n++
					case syscall.ESRCH: // it was a child of the process before, by which package os had tried pidfds
					default:
						t.Fatal(err)
					}
				}
				d.WriteFile(t, d.file("go"), 0o644, nil)
			})
			if now := d.page("/files"); now != files {
				t.Errorf("the files contain %q, expected %q", now, files)
			}
			if now := d.Property(t, d.unit, "NFileDescriptorStore"); now != stored {
				t.Errorf("systemd has stored %s files, expected %s", now, stored)
			}
			c.await(2 * len(c.all)) // none is cut
			c.stop()
			c.check()
			if log := d.Log(t, d.unit); strings.Contains(log, "level=WARN") {
				t.Errorf("logged warnings: %s", log)
			}
		})
	}
}

// awaitStarts waits until systemd has started the daemon that often since the test has begun to kill it, and until it has
// begun to wait.
func (d *daemon) awaitStarts(starts int) {
	d.t.Helper()
	testprocess.WaitFor(d.t, "start of the daemon", func() bool {
		return strings.Count(d.Log(d.t, d.unit), "msg=waiting generation=0") == starts
	})
}

// awaitProcess waits for another process than before in a control group, and returns its ID.
func (d *daemon) awaitProcess(group string, before int) (pid int) {
	d.t.Helper()
	testprocess.WaitFor(d.t, "next process", func() bool {
		content, err := os.ReadFile(d.Path("/sys/fs/cgroup" + group + "/cgroup.procs"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) { // systemd removes the group
			d.t.Fatal(err)
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err == nil && pid != before
	})
	return pid
}

// A daemon that ends while systemd executes itself or reads its units again keeps what it has. Once systemd executes itself
// before it has seen the end.
func TestKillsInReexec(t *testing.T) {
	_, c := killable(t, "reexec", 8116, "")
	ends := []end{{"SIGKILL before daemon-reexec", killUnseen}}
	for _, command := range []string{"daemon-reexec", "daemon-reload"} {
		took := takes(c.d, command)
		for _, crash := range crashes {
			ends = append(ends, end{crash.by + " in " + command, func(c *clients, pid int) {
				done := make(chan struct{})
				go func() {
					defer close(done)
					c.d.Try("systemctl", command) // may be cut off
				}()
				time.Sleep(rand.N(took))
				crash.end(c, pid)
				testprocess.Receive(c.t, "end of systemctl "+command, done)
				c.d.AwaitReexec(c.t)
			}})
		}
	}
	c.kill(max(testprocess.FromEnv(t, "AUTORESTART_TEST_KILLS", 0)/2, len(ends)), ends)
}

// takes returns how long a command of systemctl takes.
func takes(d *daemon, command string) time.Duration {
	d.t.Helper()
	start := time.Now()
	d.Run(d.t, "systemctl", command)
	d.AwaitReexec(d.t)
	return time.Since(start)
}

// killUnseen kills the daemon while systemd is stopped, and has systemd execute itself by SIGTERM, which systemd handles
// before SIGCHLD.
func killUnseen(c *clients, pid int) {
	send(c.t, c.d.PID(), syscall.SIGSTOP)
	send(c.t, pid, syscall.SIGKILL)
	send(c.t, c.d.PID(), syscall.SIGTERM)
	send(c.t, c.d.PID(), syscall.SIGCONT)
	c.d.AwaitReexec(c.t)
}
