//go:build linux

package daemontest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Daemon is a daemon, as its test sees it.
type Daemon struct {
	T    testing.TB
	Cmd  *exec.Cmd
	Path string // where versions are deployed
	Last Status // of the image that runs, at its start

	// InnerPID is the PID that the daemon has in a PID namespace of its own; 0 without one.
	InnerPID int

	newest int // the version that was deployed last
	stdin  io.WriteCloser
	said   chan string
	logs   testprocess.Log
}

// New prepares a daemon with version 1 in a directory of its own. Its command may be
// changed before Start.
func New(t testing.TB, name string) *Daemon {
	t.Helper()
	dir := testprocess.MemoryDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &Daemon{T: t, Path: filepath.Join(dir, "app"), said: make(chan string, 1000)}
	d.Deploy()
	d.Cmd = exec.Command(d.Path)
	d.Cmd.Env = os.Environ()
	d.Setenv(testprocess.UseHelper(t, name))
	return d
}

// Start prepares a daemon, starts it and waits for its main.
func Start(t testing.TB, name string, env ...string) *Daemon {
	t.Helper()
	d := New(t, name)
	for _, kv := range env {
		d.Setenv(kv)
	}
	d.Start()
	return d
}

// Setenv adds a variable, as key=value, to the environment that the daemon will be
// started with.
func (d *Daemon) Setenv(kv string) { d.Cmd.Env = append(d.Cmd.Env, kv) }

// Start starts the daemon and waits for its main.
func (d *Daemon) Start() Status {
	d.T.Helper()
	stdin, err := d.Cmd.StdinPipe()
	if err != nil {
		d.T.Fatal(err)
	}
	stdout, err := d.Cmd.StdoutPipe()
	if err != nil {
		d.T.Fatal(err)
	}
	d.stdin = stdin
	if d.Cmd.Stderr == nil {
		d.Cmd.Stderr = &d.logs
	}
	if err := d.Cmd.Start(); err != nil {
		d.T.Fatal(err)
	}
	go func() {
		defer close(d.said)
		for lines := bufio.NewReader(stdout); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			d.said <- line
		}
	}()
	d.T.Cleanup(func() {
		d.Cmd.Process.Kill()
		d.Cmd.Wait()
		if d.T.Failed() {
			d.T.Logf("standard error of the daemon:\n%s", d.Log())
		}
	})
	return d.WantStart(1, 1)
}

// WaitForEnd waits until the daemon has ended, and returns the error of its
// [exec.Cmd.Wait].
func (d *Daemon) WaitForEnd() error {
	d.T.Helper()
	for ok := true; ok; {
		_, ok = testprocess.Receive(d.T, "end of the daemon", d.said)
	}
	return d.Cmd.Wait()
}

// CloseInput ends the commands: the daemon's main returns.
func (d *Daemon) CloseInput() {
	d.T.Helper()
	if err := d.stdin.Close(); err != nil {
		d.T.Fatal(err)
	}
}

// Next waits for the next event.
func (d *Daemon) Next() (event, text string) {
	d.T.Helper()
	line, ok := testprocess.Receive(d.T, "event from the daemon", d.said)
	if !ok {
		d.T.Fatal("the daemon has ended")
	}
	return d.parseEvent(line)
}

// TryNext waits for the next event, however long that takes. It returns the status in it, if it is a start.
// If ok is false, the daemon has ended.
func (d *Daemon) TryNext() (event string, s Status, ok bool) {
	line, ok := <-d.said
	if !ok {
		return "", s, false
	}
	event, text := d.parseEvent(line)
	if event == "start" {
		s = d.parseStatus(text)
	}
	return event, s, true
}

func (d *Daemon) parseEvent(line string) (event, text string) {
	d.T.Helper()
	event, quoted, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	text, err := strconv.Unquote(quoted)
	if err != nil {
		d.T.Fatalf("the daemon said %q: %v", line, err)
	}
	return event, text
}

// Want waits for the next event, which must be the given one, and returns its text.
func (d *Daemon) Want(event string) string {
	d.T.Helper()
	got, text := d.Next()
	if got != event {
		d.T.Fatalf("the daemon said %s %q, expected %q", got, text, event)
	}
	return text
}

// WantStatus waits for the next event, which must be the given one, and returns the
// status in it.
func (d *Daemon) WantStatus(event string) Status {
	d.T.Helper()
	return d.parseStatus(d.Want(event))
}

func (d *Daemon) parseStatus(text string) (s Status) {
	d.T.Helper()
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		d.T.Fatalf("the status of the daemon is %q: %v", text, err)
	}
	return s
}

// NextStart waits for the start of an image, whichever it is, and returns its status.
func (d *Daemon) NextStart() Status {
	d.T.Helper()
	d.Last = d.WantStatus("start")
	return d.Last
}

// PendingStart is NextStart if an image has started already.
func (d *Daemon) PendingStart() (s Status, ok bool) {
	d.T.Helper()
	if len(d.said) == 0 {
		return Status{}, false
	}
	return d.NextStart(), true
}

// WantStart waits for the start of an image, which must be of the given version and
// generation, in the same process.
func (d *Daemon) WantStart(version, generation int) Status {
	d.T.Helper()
	s, pid := d.NextStart(), cmp.Or(d.InnerPID, d.PID())
	if s.Version != version || s.Generation != generation || s.PID != pid {
		d.T.Fatalf("started version %d, generation %d, PID %d; expected version %d, generation %d, PID %d",
			s.Version, s.Generation, s.PID, version, generation, pid)
	}
	return s
}

// WantRestart waits for the next image, which must be of the given version.
func (d *Daemon) WantRestart(version int) Status {
	d.T.Helper()
	return d.WantStart(version, d.Last.Generation+1)
}

// WantOneRestart waits for the restart into a version, and shows with the next
// version that there was only one: the generations count.
func (d *Daemon) WantOneRestart(version int) {
	d.T.Helper()
	d.WantRestart(version)
	d.WaitForWatch()
	d.Ask("state", "state")
	d.DeployVersion(version + 1)
	d.WantRestart(version + 1)
	d.Ask("state", "state")
}

// Restart restarts the daemon and waits for the new main.
func (d *Daemon) Restart() {
	d.T.Helper()
	d.Tell("restart")
	d.NextStart()
}

// Tell gives the daemon a command.
func (d *Daemon) Tell(command string) {
	d.T.Helper()
	if _, err := io.WriteString(d.stdin, command+"\n"); err != nil {
		d.T.Fatal(err)
	}
}

// Ask gives the daemon a command and waits for the event that answers it.
func (d *Daemon) Ask(command, event string) string {
	d.T.Helper()
	d.Tell(command)
	return d.Want(event)
}

// WantAnswer gives the daemon a command and compares its answer, the event "done".
func (d *Daemon) WantAnswer(command, want string) {
	d.T.Helper()
	if got := d.Ask(command, "done"); got != want {
		d.T.Errorf("%s: %q, want %q", command, got, want)
	}
}

// State asks the daemon for its status.
func (d *Daemon) State() Status {
	d.T.Helper()
	d.Tell("state")
	return d.WantStatus("state")
}

// Log returns what the daemon has written to standard error.
func (d *Daemon) Log() string { return d.logs.String() }

// WantLogged waits until the daemon has written a text to standard error.
func (d *Daemon) WantLogged(text string) {
	d.T.Helper()
	WaitFor(d.T, "log line with "+strconv.Quote(text), func() bool {
		return strings.Contains(d.Log(), text)
	})
}

// PID returns the process ID of the daemon, which no restart changes.
func (d *Daemon) PID() int { return d.Cmd.Process.Pid }

// Signal sends the daemon a signal.
func (d *Daemon) Signal(sig syscall.Signal) {
	d.T.Helper()
	if err := d.Cmd.Process.Signal(sig); err != nil {
		d.T.Fatal(err)
	}
}

// ResidentMemory returns the daemon's resident memory in kilobytes.
func (d *Daemon) ResidentMemory() int {
	d.T.Helper()
	status := testprocess.ReadFile(d.T, "/proc/"+strconv.Itoa(d.PID())+"/status")
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				d.T.Fatal(err)
			}
			return kB
		}
	}
	d.T.Fatal("no VmRSS")
	return 0
}
