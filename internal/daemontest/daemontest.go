// Package daemontest runs the test binary of a package as a daemon that really
// restarts: copied to a directory of its own, deployed by rename, executed in
// place.
package daemontest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Of package testprocess, for tests that import this one with a dot.
const Patience = testprocess.Patience

var WaitFor = testprocess.WaitFor

// HelperEnv names the daemon that the test binary is to be.
const HelperEnv = "AUTORESTART_TEST_HELPER"

// Main is the TestMain of a package. The daemons are programs that the test binary
// can be beside a test.
func Main(m *testing.M, daemons map[string]func()) {
	if name := os.Getenv(HelperEnv); name != "" {
		main, ok := daemons[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "%s=%s: no such daemon\n", HelperEnv, name)
			os.Exit(2)
		}
		Say("start", autorestart.Generation())
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var saying sync.Mutex

// Say tells the test of an event.
func Say(event string, v any) {
	saying.Lock()
	defer saying.Unlock()
	fmt.Printf("%s %q\n", event, fmt.Sprint(v))
}

// Must ends the daemon if there is an error.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Obey has the daemon do what the test tells it: restart, as often as it likes, or
// one of the commands, each a word and an argument. It returns when there is nothing
// more to come.
func Obey(r *autorestart.Restarter, commands map[string]func(arg string)) {
	for {
		command, arg, _ := strings.Cut(testprocess.ReadLine(), " ")
		switch f := commands[command]; {
		case f != nil:
			f(arg)
		case command == "restart":
			go func() { Say("failed", r.Restart(context.Background())) }()
		case command == "watch":
			go r.Run(context.Background())
		case command == "":
			return
		default:
			panic("unknown command " + command)
		}
	}
}

// Daemon is a running daemon, as its test sees it.
type Daemon struct {
	Cmd   *exec.Cmd
	Path  string
	t     testing.TB
	stdin io.Writer
	said  chan string
	logs  testprocess.Log
}

// New prepares a daemon. Its environment may be changed before Start.
func New(t testing.TB, name string) *Daemon {
	t.Helper()
	d := &Daemon{t: t, Path: filepath.Join(t.TempDir(), "app"), said: make(chan string, 1000)}
	d.Deploy()
	d.Cmd = exec.Command(d.Path)
	d.Cmd.Env = append(os.Environ(), HelperEnv+"="+name)
	return d
}

// Start starts it and waits for its main.
func Start(t testing.TB, name string, env ...string) *Daemon {
	t.Helper()
	d := New(t, name)
	d.Cmd.Env = append(d.Cmd.Env, env...)
	d.Start()
	return d
}

// Start starts it and waits for its main.
func (d *Daemon) Start() {
	d.t.Helper()
	stdin, err := d.Cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	stdout, err := d.Cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	d.stdin, d.Cmd.Stderr = stdin, &d.logs
	if err := d.Cmd.Start(); err != nil {
		d.t.Fatal(err)
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
	d.t.Cleanup(func() {
		d.Cmd.Process.Kill()
		d.Cmd.Wait()
		if d.t.Failed() {
			d.t.Logf("standard error of the daemon:\n%s", d.Log())
		}
	})
	d.Want("start")
}

// Next waits for the next event.
func (d *Daemon) Next() (event, text string) {
	d.t.Helper()
	select {
	case line, ok := <-d.said:
		if !ok {
			d.t.Fatal("the daemon has ended")
		}
		if _, err := fmt.Sscanf(line, "%s %q", &event, &text); err != nil {
			d.t.Fatalf("the daemon said %q: %v", line, err)
		}
	case <-time.After(Patience):
		d.t.Fatalf("nothing from the daemon for %v", Patience)
	}
	return event, text
}

// Want waits for the next event, which must be the given one, and returns what was
// said.
func (d *Daemon) Want(event string) string {
	d.t.Helper()
	got, text := d.Next()
	if got != event {
		d.t.Fatalf("the daemon said %s %q, expected %q", got, text, event)
	}
	return text
}

// Tell gives it a command.
func (d *Daemon) Tell(command string) {
	d.t.Helper()
	if _, err := io.WriteString(d.stdin, command+"\n"); err != nil {
		d.t.Fatal(err)
	}
}

// Ask gives it a command and waits for the answer.
func (d *Daemon) Ask(command, event string) string {
	d.t.Helper()
	d.Tell(command)
	return d.Want(event)
}

// Restart restarts it and waits for the new main.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.Ask("restart", "start")
}

// Log returns what the daemon has written to standard error.
func (d *Daemon) Log() string { return d.logs.String() }

var deployed int

// Deploy puts another version of the daemon in place.
func (d *Daemon) Deploy() {
	d.t.Helper()
	deployed++
	content := append(binary(), fmt.Sprintf("\nversion %d\n", deployed)...)
	if err := os.WriteFile(d.Path+".new", content, 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(d.Path+".new", d.Path); err != nil {
		d.t.Fatal(err)
	}
}

// binary returns a copy of the test binary.
var binary = func() func() []byte {
	read := sync.OnceValue(func() []byte {
		path := Must(os.Executable())
		b := Must(os.ReadFile(path))
		return b[:len(b):len(b)]
	})
	return read
}()
