//go:build linux && !autorestart_portable

package systemd_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// An end is a way in which the daemon of some clients ends. Its process has the given ID here.
type end struct {
	by  string
	end func(c *clients, pid int)
}

// crashes are ends of the process by itself or by a signal, at any moment.
var crashes = []end{
	{"SIGKILL", func(c *clients, pid int) { send(c.t, pid, syscall.SIGKILL) }},
	{"panic", func(c *clients, _ int) { c.d.get("/crash?by=panic") }},
	{"os.Exit", func(c *clients, _ int) { c.d.get("/crash?by=exit") }},
	{"SIGSEGV", func(c *clients, pid int) { send(c.t, pid, syscall.SIGSEGV) }},
}

// momentsOfKills are ends by SIGKILL at a certain moment.
var momentsOfKills = []end{
	{"SIGKILL while stopped", killStopped},
	{"SIGKILL in a deploy", killDeploying},
}

// watchdogs are ends by systemd, of a daemon that does not say in time that it works.
var watchdogs = []end{
	{"threads that are stopped", func(c *clients, pid int) { send(c.t, pid, syscall.SIGSTOP) }},
	{"a check that hangs", func(c *clients, _ int) { c.d.get("/crash?by=check") }},
}

// oomKills are ends by the kernel, of a daemon that uses more memory than its limit.
func oomKills(m *systemdtest.Memory) []end {
	return []end{{"the OOM killer", func(c *clients, pid int) {
		m.Limit(c.t, pid)
		c.d.get("/crash?by=memory")
	}}}
}

func send(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
}

// kill sends a signal to the daemon.
func (d *daemon) kill(signal syscall.Signal) {
	d.t.Helper()
	send(d.t, d.process(), signal)
}

// process returns the ID of the only process of the unit, as this process sees it. Children by which a start or an exec tries
// system calls have ended then.
func (d *daemon) process() (pid int) {
	d.t.Helper()
	group := d.Property(d.t, d.unit, "ControlGroup")
	testprocess.WaitFor(d.t, "single process of "+d.unit, func() bool {
		content := testprocess.ReadFile(d.t, d.Path("/sys/fs/cgroup"+group+"/cgroup.procs"))
		var err error
		pid, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err == nil
	})
	return pid
}

// stop stops the daemon. It returns when no thread runs any more, which would accept a connection.
func (d *daemon) stop() {
	d.t.Helper()
	stop(d.t, d.process())
}

func stop(t *testing.T, pid int) {
	t.Helper()
	send(t, pid, syscall.SIGSTOP)
	testprocess.WaitFor(t, "stopped threads", func() bool {
		for _, stat := range testprocess.Glob(t, "/proc/%d/task/*/stat", pid) {
			content, err := os.ReadFile(stat)
			if _, state, _ := strings.Cut(string(content), ") "); err != nil || !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return true
	})
}

// killDeploying kills the daemon at some moment of a restart in place, which takes some 30 ms.
func killDeploying(c *clients, pid int) {
	c.d.deploy(1000 + rand.IntN(1000))
	time.Sleep(rand.N(60 * time.Millisecond))
	send(c.t, pid, syscall.SIGKILL)
}

// killStopped kills the daemon while it is stopped, with clients in the queues of both listeners. None of them is cut.
func killStopped(c *clients, pid int) {
	stop(c.t, pid)
	queued := c.queue(20)
	send(c.t, pid, syscall.SIGKILL)
	c.awaitNext(queued)
}
