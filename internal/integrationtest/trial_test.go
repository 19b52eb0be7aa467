//go:build linux

package integrationtest

import (
	"bufio"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// No reason keeps a version from being rolled back, whatever bytes it has.
func TestAnyReason(t *testing.T) {
	t.Parallel()
	const maxReason = 4 << 10 // of which the rest is cut off
	for _, test := range []struct{ name, reason, want string }{
		{"NUL", `"a\x00b" 1`, "a�b"},
		{"fields", `",pid=1,\n" 1`, ",pid=1,\n"},
		{"long", `"é" 100000`, strings.Repeat("é", maxReason/2) + "…"},
		{"cut within a character", `"→" 100000`, strings.Repeat("→", maxReason/3) + "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := program.OnTrial(t, time.Minute)
			d.Tell("fail-with " + test.reason)
			program.WantRollback(d, test.want)
		})
	}
}

// onTrialWithNothing starts a daemon whose version 2 is on trial. Nothing was handed to it,
// so that it may be replaced before it is ready.
func onTrialWithNothing(t *testing.T) *daemontest.Daemon {
	program.NeedRollback(t)
	d := program.New(t)
	d.Setenv(program.ReadyEnv + "=1m")
	d.Start()
	d.DeployVersion(2)
	d.WantRestart(2)
	return d
}

// A version on trial that restarts into another has not shown that it works: the next
// one is on trial, too.
func TestTrialIsPassedOn(t *testing.T) {
	d := onTrialWithNothing(t)
	d.WantAnswer("set-state counter 2", "")
	d.DeployVersion(3)
	d.WantRestart(3)
	d.WantAnswer("get-state counter", "2, true")
	d.Tell("fail it is no good")
	r := d.NextStart()
	if r.Version != 1 {
		t.Errorf("version %d runs again", r.Version)
	}
	program.WantRolledBack(d, "it is no good")
	d.WantAnswer("get-state counter", "2, true")
	d.WantAnswer("fail again", autorestart.ErrNoRollback.Error())
}

// The trial goes on after a restart without a ReadyTimeout.
func TestTrialIsPassedOnWithoutTimeout(t *testing.T) {
	d := onTrialWithNothing(t)
	d.Tell("restart")
	d.WantRestart(2)
	d.Tell("fail it is no good")
	if r := d.NextStart(); r.Version != 1 {
		t.Errorf("version %d runs again", r.Version)
	}
	program.WantRolledBack(d, "it is no good")
	d.WantLogged(program.LoggedFailedBefore)
	d.WantAnswer("generation", "3")
}

// A version that failed is not executed again by a restart without a ReadyTimeout either, which
// could not roll it back.
func TestFailedVersionIsNotRestartedWithoutTimeout(t *testing.T) {
	d := onTrialWithNothing(t)
	d.Tell("fail it is no good")
	d.NextStart()
	d.Tell("restart-from " + d.Path)
	if text := d.Want("failed"); !strings.Contains(text, program.LoggedFailedBefore) {
		t.Error(text)
	}
}

func TestReadyEndsTrial(t *testing.T) {
	d := program.OnTrial(t, time.Minute)
	d.WantAnswer("ready", "")
	d.WantAnswer("fail too late", autorestart.ErrNoRollback.Error())
	d.DeployVersion(program.Panics)
	d.WantRestart(program.Panics)
	if r := d.NextStart(); r.Version != 2 {
		t.Errorf("version %d runs again", r.Version)
	}
}

func TestEndlessReadyTimeout(t *testing.T) {
	d := program.OnTrial(t, math.MaxInt64)
	d.WantAnswer("get-state counter", "1, true")
}

func TestPanicThatCantBePrinted(t *testing.T) {
	d := program.OnTrial(t, time.Minute)
	d.Tell("panic")
	program.WantRollback(d, "main panicked: with a value that can't be printed")
}

// A stuck Drainer does not keep a version from being rolled back.
func TestStuckDrainerIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	d := program.OnTrial(t, time.Minute)
	d.WantAnswer("get-stuck", "")
	d.Tell("fail it is stuck")
	program.WantRollback(d, "it is stuck")
	d.WantLogged("a Drainer does not return")
}

// Nor does one that is stuck in a restart of the version on trial.
func TestDrainerStuckInRestartIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	d := onTrialWithNothing(t) // a restart would wait until what was passed is claimed
	d.WantAnswer("get-stuck", "")
	d.Tell("exec")
	d.WantLogged("a Drainer does not return")
	d.Tell("fail it is stuck")
	d.NextStart()
	program.WantRolledBack(d, "it is stuck")
}

// The initialisation of another package never ends, and overwrites the arguments.
func TestHangBeforeMain(t *testing.T) {
	t.Parallel()
	program.NeedRollback(t)
	root := testprocess.ModuleRoot(t)
	files := map[string]string{
		"go.mod": "module example.com/hangs\n\ngo 1.26\n\nrequire " + testprocess.ModulePath + " v0.0.0\n" +
			"replace " + testprocess.ModulePath + " => " + root + "\n",
		"go.sum": string(testprocess.ReadFile(t, filepath.Join(root, "go.sum"))),
		// It comes early in the alphabet, and imports what almost every package does.
		"early/early.go": `package early

import ("fmt"; "os"; "time"; "unsafe")

var Hang string

func init() {
	if Hang != "" {
		fmt.Println("hangs", os.Getpid())
		title := unsafe.Slice(unsafe.StringData(os.Args[1]), len(os.Args[1]))
		clear(title)
		for { time.Sleep(time.Hour) }
	}
}
`,
		"main.go": `package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"example.com/hangs/early"
)

func main() {
	if early.Hang == "" {
		fmt.Println("runs", os.Getpid(), os.Args[1:], autorestart.RolledBack())
	}
	r := autorestart.Restarter{ReadyTimeout: 2*time.Second}
	r.Run(context.Background())
}
`,
	}
	good := testprocess.BuildModule(t, files)
	bad := testprocess.BuildModule(t, files, "-ldflags=-X example.com/hangs/early.Hang=yes")
	cmd := exec.Command(good, "argument", "")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			lines <- in.Text()
		}
	}()
	want := func(line string) {
		t.Helper()
		if got, _ := testprocess.Receive(t, "line "+line, lines); got != line {
			t.Fatalf("it says %q, want %q", got, line)
		}
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	want("runs " + pid + " [argument ] <nil>")
	if err := os.Rename(bad, good); err != nil {
		t.Fatal(err)
	}
	want("hangs " + pid)
	want("runs " + pid + " [argument ] " + program.RolledBackPrefix + "it was not ready within 2s")
}
