//go:build !autorestart_portable

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A result is how the command has ended.
type result struct {
	exit           int
	stdout, stderr string
}

// A running is a command that runs.
type running struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan error
}

// start starts the real command.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{cmd: exec.Command("/proc/self/exe", args...), ended: make(chan error, 1)}
	r.cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "autorestart"))
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cmd.Process.Kill() })
	go func() { r.ended <- r.cmd.Wait() }()
	return r
}

func (r *running) wait(t *testing.T) result {
	t.Helper()
	testprocess.Receive(t, "end of the command", r.ended)
	return result{r.cmd.ProcessState.ExitCode(), r.stdout.String(), r.stderr.String()}
}

func reloadOf(t *testing.T, d *daemontest.Daemon, flags ...string) *running {
	t.Helper()
	return start(t, append(append([]string{"reload"}, flags...), fmt.Sprint(d.PID()))...)
}

// put makes a file by which the daemon is controlled.
func put(d *daemontest.Daemon, name string) (remove func()) {
	d.T.Helper()
	path := filepath.Join(filepath.Dir(d.Path), name)
	d.Write(path, nil)
	return func() {
		if err := os.Remove(path); err != nil {
			d.T.Error(err)
		}
	}
}

// want compares a result: standard output as a whole, and what is to be in standard error.
func (r result) want(t *testing.T, exit int, stdout, stderr string) {
	t.Helper()
	if r.exit != exit || r.stdout != stdout || !strings.Contains(r.stderr, stderr) || (stderr == "") != (r.stderr == "") || strings.Count(r.stderr, "\n") > 1 {
		t.Errorf("exit %d, %q, %q; want %d, %q, %q", r.exit, r.stdout, r.stderr, exit, stdout, stderr)
	}
}

func TestReloadSucceedsWhenVersionIsReady(t *testing.T) {
	d := daemontest.Start(t, "daemon")
	for version := 2; version < 5; version++ {
		d.DeployVersion(version)
		r := reloadOf(t, d).wait(t)
		d.WantRestart(version)
		r.want(t, exitDone, fmt.Sprintf("process %d: version %d is ready (generation %d)\n", d.PID(), version, version-1), "")
	}
	reloadOf(t, d).wait(t).want(t, exitDone, fmt.Sprintf("process %d: version 4 is ready (generation 4)\n", d.PID()), "")
}

// Reload has not returned while the new version is not ready.
func TestReloadWaitsUntilVersionIsReady(t *testing.T) {
	d := daemontest.Start(t, "daemon")
	d.DeployVersion(slow)
	r := reloadOf(t, d)
	d.WantRestart(slow)
	if len(r.ended) > 0 {
		t.Error("it has returned")
	}
	put(d, goOn)
	r.wait(t).want(t, exitDone, fmt.Sprintf("process %d: version 106 is ready (generation 1)\n", d.PID()), "")
}

func TestReloadFailsWhenVersionIsRolledBack(t *testing.T) {
	for version, reason := range map[int]string{unready: "port 80 is taken [31m", panicking: "main panicked: no configuration"} {
		t.Run(reason, func(t *testing.T) {
			d := daemontest.Start(t, "daemon")
			d.DeployVersion(version)
			r := reloadOf(t, d).wait(t)
			d.WantRestart(version)
			d.WantStart(1, d.Last.Generation) // its environment is that of version 1
			r.want(t, exitFailed, "", fmt.Sprintf("autorestart reload: process %d: rolled back: %s", d.PID(), reason))
			d.DeployVersion(2)
			reloadOf(t, d).wait(t).want(t, exitDone, fmt.Sprintf("process %d: version 2 is ready (generation 3)\n", d.PID()), "")
		})
	}
}

func TestReloadWaitsForEndOfTrial(t *testing.T) {
	d := daemontest.Start(t, "on trial")
	d.DeployVersion(2)
	reloadOf(t, d).wait(t).want(t, exitDone, fmt.Sprintf("process %d: version 2 is healthy (generation 1)\n", d.PID()), "")
	d.WantRestart(2)
	d.DeployVersion(unhealthy)
	r := reloadOf(t, d).wait(t)
	d.WantRestart(unhealthy)
	d.WantStart(2, d.Last.Generation)
	r.want(t, exitFailed, "", fmt.Sprintf("process %d: rolled back: ", d.PID()))
	if !strings.Contains(r.stderr, "the database does not answer") {
		t.Errorf("the reason is missing: %q", r.stderr)
	}
}

func TestReloadFailsWhenVersionIsRejected(t *testing.T) {
	d := daemontest.Start(t, "daemon")
	d.DeployVersion(refused)
	reloadOf(t, d).wait(t).want(t, exitFailed, "", fmt.Sprintf("process %d: rejected: ", d.PID()))
	d.DeployBytes([]byte("#!/bin/no\n"))
	reloadOf(t, d).wait(t).want(t, exitFailed, "", "rejected: ")
	d.DeployVersion(2)
	reloadOf(t, d).wait(t).want(t, exitDone, fmt.Sprintf("process %d: version 2 is ready (generation 1)\n", d.PID()), "")
}

// Each of several commands has an outcome.
func TestReloadsAtTheSameTime(t *testing.T) {
	d := daemontest.Start(t, "daemon")
	d.DeployVersion(2)
	var all []*running
	for range 20 { // more than a page has room for
		all = append(all, reloadOf(t, d))
	}
	for _, r := range all {
		if result := r.wait(t); result.exit != exitDone || !strings.Contains(result.stdout, "version 2 is ready") {
			t.Errorf("%+v", result)
		}
	}
}

// The daemon restarts already, as after the SIGHUP that systemd sends before ExecReload= with
// Type=notify-reload. That restart is also the one of the command.
func TestReloadDuringRestart(t *testing.T) {
	d := daemontest.Start(t, "daemon")
	d.DeployVersion(2)
	remove := put(d, holdDrain)
	d.Tell("restart")
	page, err := statuspage.Find(d.PID())
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	testprocess.WaitFor(t, "drain", func() bool {
		s, err := page.Status()
		return err == nil && s.Phase == statuspage.Draining
	})
	r := reloadOf(t, d)
	testprocess.WaitFor(t, "request", func() bool { return isAsked(t, d) })
	remove()
	r.wait(t).want(t, exitDone, fmt.Sprintf("process %d: version 2 is ready (generation 1)\n", d.PID()), "")
	d.WantRestart(2)
	if s, err := page.Status(); err != nil || s.Generation != 1 {
		t.Errorf("after one restart: %+v, %v", s, err)
	}
}

// isAsked reports whether a request is in the page of the daemon.
func isAsked(t *testing.T, d *daemontest.Daemon) bool {
	for _, path := range testprocess.Glob(t, "/proc/%d/fd/*", d.PID()) {
		if target, _ := os.Readlink(path); strings.HasPrefix(target, "/memfd:autorestart-status") {
			return bytes.Contains(testprocess.ReadFile(t, path), []byte("\x00restart "))
		}
	}
	return false
}

// A reload that ends before the exec calls the restart off.
func TestReloadThatEndsCallsRestartOff(t *testing.T) {
	d := daemontest.Start(t, "daemon")
	remove := put(d, holdExec)
	d.DeployVersion(2)
	for name, end := range map[string]struct {
		flags []string
		do    func(*running)
		text  string
	}{
		"timeout": {[]string{"-timeout", "3s"}, func(*running) {}, "no outcome after 3s"}, // of which a busy machine needs a part
		"SIGTERM": {nil, func(r *running) { r.cmd.Process.Signal(syscall.SIGTERM) }, "terminated"},
		"SIGINT":  {nil, func(r *running) { r.cmd.Process.Signal(syscall.SIGINT) }, "interrupt"},
	} {
		r := reloadOf(t, d, end.flags...)
		d.Want("held")
		end.do(r)
		if result := r.wait(t); result.exit != exitUnable || !strings.Contains(result.stderr, end.text) {
			t.Errorf("%s: %+v", name, result)
		}
	}
	remove()
	reloadOf(t, d).wait(t).want(t, exitDone, fmt.Sprintf("process %d: version 2 is ready (generation 1)\n", d.PID()), "")
	d.WantRestart(2)
}

func TestReloadOfProcessThatEnds(t *testing.T) {
	t.Run("new version", func(t *testing.T) {
		d := daemontest.Start(t, "daemon")
		d.DeployVersion(exiting)
		reloadOf(t, d).wait(t).want(t, exitFailed, "", "the process has ended")
	})
	t.Run("old version", func(t *testing.T) {
		d := daemontest.Start(t, "daemon")
		put(d, holdExec)
		r := reloadOf(t, d)
		d.Want("held")
		d.Signal(syscall.SIGKILL)
		r.wait(t).want(t, exitFailed, "", "the process has ended")
	})
}

func TestReloadIntoVersionWithoutPage(t *testing.T) {
	d := daemontest.Start(t, "daemon")
	d.DeployVersion(pageless)
	r := reloadOf(t, d)
	d.WantRestart(pageless)
	r.wait(t).want(t, exitUnable, "", "the process has executed a version without a status page; it is not known")
	reloadOf(t, d).wait(t).want(t, exitUnable, "", "the process has no status page; the program has to")
}

func TestReloadOfOtherProcesses(t *testing.T) {
	stranger, later := daemontest.Start(t, "stranger"), daemontest.Start(t, "from 2050")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no page":          {[]string{fmt.Sprint(stranger.PID())}, "no status page"},
		"another format":   {[]string{fmt.Sprint(later.PID())}, "another format: 7, and not 1; use the command of the release"},
		"no process":       {[]string{"2147483647"}, "no such process"},
		"no number":        {[]string{"$MAINPID"}, `"$MAINPID" is no PID`},
		"zero":             {[]string{"0"}, `"0" is no PID`},
		"negative":         {[]string{"--", "-1"}, `"-1" is no PID`},
		"negative timeout": {[]string{"-timeout", "-1s", "1"}, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			start(t, append([]string{"reload"}, test.args...)...).wait(t).want(t, exitUnable, "", test.want)
		})
	}
}

func TestReloadNeedsPermission(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	d := daemontest.Start(t, "daemon")
	start(t).wait(t)
	r := &running{cmd: exec.Command("/proc/self/exe", "reload", fmt.Sprint(d.PID())), ended: make(chan error, 1)}
	// The test binary may be in a directory that only root can search.
	binary := filepath.Join(filepath.Dir(d.Path), "autorestart")
	testprocess.WriteExecutable(t, binary, daemontest.Binary(t))
	r.cmd.Path, r.cmd.Dir = binary, "/"
	r.cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "autorestart"))
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	r.wait(t).want(t, exitUnable, "", "permission denied; run this command as the user of the process")
}
