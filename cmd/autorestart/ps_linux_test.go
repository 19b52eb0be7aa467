//go:build !autorestart_portable

package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestTable(t *testing.T) {
	now := time.Date(2026, 3, 4, 15, 0, 0, 0, time.UTC)
	all := []listed{
		{PID: 7, Program: "/srv/app", Version: "v1.2.3", Generation: 12, Since: now.Add(-time.Hour), Watch: "inotify", Status: "serving",
			Last: &lastResult{Outcome: "ready"}},
		{PID: 4711, Program: "/srv/ä", Since: now.Add(-48 * time.Hour), Status: "draining",
			Last: &lastResult{Outcome: "rolled back", Reason: "port 80 is taken"}},
	}
	want := `PID   PROGRAM   VERSION  GEN  SINCE       WATCH    STATUS    LAST
7     /srv/app  v1.2.3   12   14:00:00    inotify  serving   -
4711  /srv/ä    -        0    2026-03-02  -        draining  rolled back: port 80 is taken
`
	if got := table(all, now, 0); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for line := range strings.Lines(table(all, now, 30)) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 30 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
}

func TestPSShowsWhatProcessesDo(t *testing.T) {
	d := startDeployed(t)
	deployTo(t, d, refused).wait(t)
	p, ok := psOf(t, d.PID())
	if !ok || p.Program != d.Path || p.Version == "" || p.Generation != 0 || p.Watch == "" || p.Status != "serving" || p.Since.IsZero() || p.Last == nil {
		t.Errorf("%+v", p)
	}
	_, text, _ := runCommand(t, "ps")
	if !strings.Contains(text, d.Path) || !strings.Contains(text, "rejected: ") {
		t.Error(text)
	}
	put(d, holdDrain)
	deployTo(t, d, 2, "-timeout", "100ms").wait(t)
	testprocess.WaitFor(t, "drain", func() bool {
		p, _ := psOf(t, d.PID())
		return p.Status == "draining"
	})
}

// A program whose Run has ended has a status, but does not watch.
func TestPSAfterEndOfRun(t *testing.T) {
	d := startDeployed(t)
	d.Ask("stop", "stopped")
	if p, ok := psOf(t, d.PID()); !ok || p.Program != d.Path || p.Watch != "" || p.Status != "serving" {
		t.Errorf("%+v", p)
	}
}

// A hostile process can't control the terminal of ps, and gets one line of the list.
func TestPSOfHostilePages(t *testing.T) {
	pid := startWithPage(t, "/srv/\x1b]0;title\a\nroot")
	later, err := statuspage.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	later.File().WriteAt([]byte("autorestart status page, format 7\n"), 0)
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = []*os.File{later.File()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	exit, text, stderr := runCommand(t, "ps")
	if exit != exitDone || strings.ContainsAny(text, "\x1b\a") || !strings.Contains(text, "/srv/?]0;title??root") ||
		!strings.Contains(text, "the status page has another format: 7, and not 1") {
		t.Errorf("exit %d, %q, %q", exit, text, stderr)
	}
	if p, _ := psOf(t, pid); strings.Contains(p.Program, "\x1b") {
		t.Errorf("%+v", p)
	}
}

// asNobody runs the command as a user that may not read the processes of root.
func asNobody(t *testing.T, args ...string) result {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	r := &running{cmd: exec.Command("/proc/self/exe", args...), ended: make(chan error, 1)}
	r.cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "autorestart"))
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	return r.wait(t)
}

func TestPSOfAnotherUser(t *testing.T) {
	d := startDeployed(t)
	r := asNobody(t, "ps")
	if r.exit != exitDone || strings.Contains(r.stdout, d.Path) || !strings.Contains(r.stderr, "processes of other users may not be read; root sees them") {
		t.Errorf("%+v", r)
	}
}

// A user may deploy a file of its own that root runs. What becomes of it in root's process can't be known.
func TestDeployToProcessOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	d := startDeployed(t)
	dir := strings.TrimSuffix(d.Path, "/app")
	new := source(t, 2)
	testprocess.Run(t, "mv", new, dir+"/new")
	for _, path := range []string{dir, d.Path, dir + "/new"} {
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	asNobody(t, "deploy", dir+"/new", d.Path).wants(t, exitUnable, "is in place", "a process of another user, whose status can't be read; deploy as root")
}
