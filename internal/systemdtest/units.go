//go:build linux

package systemdtest

import (
	"bytes"
	"context"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Run runs a command in the machine, which must succeed, and returns what it writes to standard output.
func (s *System) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	output, err := s.Try(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return output
}

// Try runs a command in the machine. If it fails, it returns what the command writes to standard error, too.
// It fails after [testprocess.Timeout].
func (s *System) Try(name string, args ...string) (string, error) {
	ctx, stop := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer stop()
	var stdout, stderr bytes.Buffer
	cmd := s.commandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String() + stderr.String(), err
	}
	return stdout.String(), nil
}

// Unit writes a unit, which systemd then knows, and does not start it. A unit of that name is replaced. At
// the end of the test it is stopped and removed. If the test has failed, its status and log are printed.
func (s *System) Unit(t testing.TB, name, text string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.units[name] == nil {
		s.units[name] = &unit{cursor: s.cursor(t)}
		t.Cleanup(func() { s.removeUnit(t, name) })
	}
	s.WriteFile(t, unitPath(name), 0o644, []byte(text))
	s.Run(t, "systemctl", "daemon-reload")
}

func unitPath(name string) string { return "/etc/systemd/system/" + name }

// removeUnit removes a unit, and of a template its instances.
func (s *System) removeUnit(t testing.TB, name string) {
	instances := strings.Replace(name, "@.", "@*.", 1)
	if t.Failed() {
		status, _ := s.Try("systemctl", "status", "--no-pager", "--lines=0", instances)
		t.Logf("%s\n%s", status, s.Log(t, instances))
	}
	if output, err := s.Try("systemctl", "stop", instances); err != nil {
		t.Errorf("stop %s: %v: %s", instances, err, output)
	}
	s.Try("systemctl", "clean", "--what=fdstore", instances) // one that stays when a unit stops
	s.Try("systemctl", "reset-failed", instances)            // fails where nothing has failed
	s.Remove(t, unitPath(name))
	if output, err := s.Try("systemctl", "daemon-reload"); err != nil {
		t.Errorf("daemon-reload: %v: %s", err, output)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.units, name)
}

// Property returns a property of a unit, see systemctl(1).
func (s *System) Property(t testing.TB, unit, name string) string {
	t.Helper()
	return strings.TrimSuffix(s.Run(t, "systemctl", "show", "--property="+name, "--value", unit), "\n")
}

// Properties returns several properties of a unit.
func (s *System) Properties(t testing.TB, unit string, names ...string) map[string]string {
	t.Helper()
	properties := make(map[string]string)
	for line := range strings.Lines(s.Run(t, "systemctl", "show", "--property="+strings.Join(names, ","), unit)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		properties[name] = value
	}
	return properties
}

// WantState waits until the ActiveState of a unit is the given one.
func (s *System) WantState(t testing.TB, unit, state string) {
	t.Helper()
	testprocess.WaitFor(t, unit+" that is "+state, func() bool { return s.Property(t, unit, "ActiveState") == state })
}

// Log returns what a unit has logged since Unit was called, with what systemd has logged about it.
func (s *System) Log(t testing.TB, name string) string {
	t.Helper()
	s.Run(t, "journalctl", "--sync")
	return s.Run(t, "journalctl", s.journal(name)...)
}

// followPause is the pause before the journal is followed again. journalctl ends after the lines that are there if the
// user has too many inotify instances.
const followPause = 100 * time.Millisecond

// WantLogged waits until a unit has logged a text.
func (s *System) WantLogged(t testing.TB, name, text string) {
	t.Helper()
	var log testprocess.Log
	args := append(s.journal(name), "--follow", "--no-tail")
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(followPause) {
			follow := s.commandContext(ctx, "journalctl", args...)
			follow.Stdout, follow.Stderr = &log, &log
			follow.Run()
		}
	})
	defer ended.Wait()
	defer stop()
	testprocess.WaitFor(t, "line of "+name+" with "+text, func() bool { return strings.Contains(log.String(), text) })
}

// journal returns the arguments for a unit's part of the journal.
func (s *System) journal(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	args := []string{"--quiet", "--no-pager", "--output=cat", "--unit=" + name}
	template, _, _ := strings.Cut(name, "@")
	for _, of := range []string{name, template + "@" + path.Ext(name)} {
		if u := s.units[of]; u != nil && u.cursor != "" {
			return append(args, "--after-cursor="+u.cursor)
		}
	}
	return args
}

// Reexec has systemd execute itself. Commands in the machine fail meanwhile, so the test must not be parallel.
func (s *System) Reexec(t testing.TB) {
	t.Helper()
	s.Run(t, "systemctl", "daemon-reexec")
	s.AwaitReexec(t)
}

// AwaitReexec waits until systemd, which executes itself, answers again.
func (s *System) AwaitReexec(t testing.TB) {
	t.Helper()
	testprocess.WaitFor(t, "systemd after its exec", func() bool {
		_, err := s.Try("systemctl", "show-environment")
		return err == nil
	})
}

// SoftReboot stops all units and starts again those of the default target, see systemd-soft-reboot.service(8). It does not
// wait for that: the caller waits for a file that a unit makes. Meanwhile no command may run in the machine, so the test must
// not be parallel: systemd stops and ends all processes, and nsenter(1) stops itself when its child is stopped.
func (s *System) SoftReboot(t testing.TB) {
	t.Helper()
	s.Run(t, "systemctl", "reset-failed")     // each reboot counts against the start limits of systemd's own units, too
	const softReboot = syscall.Signal(34 + 7) // SIGRTMIN+7, since systemd 254
	if err := syscall.Kill(s.PID(), softReboot); err != nil {
		t.Fatal(err)
	}
}

// cursor returns the end of the journal, "" if the journal is empty.
func (s *System) cursor(t testing.TB) string {
	t.Helper()
	_, cursor, _ := strings.Cut(s.Run(t, "journalctl", "--quiet", "--lines=0", "--show-cursor"), "-- cursor: ")
	return strings.TrimSpace(cursor)
}
