//go:build linux

package integrationtest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// titles are commands that overwrite what the kernel has passed to the image.
var titles = []string{"title daemon: idle", "long-title daemon: idle"}

// TestRestartAfterTitle: a program that overwrites its arguments for a title restarts with
// those that it was started with, and with its environment.
func TestRestartAfterTitle(t *testing.T) {
	for _, title := range titles {
		t.Run(title, func(t *testing.T) {
			d := program.New(t)
			d.Cmd.Args = append(d.Cmd.Args, "", "a b", "\xff\xfe=\x01", "")
			d.Setenv(program.ManualEnv + "=1")
			d.Setenv("BYTES=\xff\x80")
			before := d.Start()
			for range 3 {
				d.WantAnswer(title, "")
				wantTitle(d)
				d.Restart()
				wantSameStart(d, before)
			}
		})
	}
}

// TestRollbackAfterTitle: a version on trial that has a title is rolled back likewise.
func TestRollbackAfterTitle(t *testing.T) {
	for _, title := range titles {
		t.Run(title, func(t *testing.T) {
			d := program.OnTrial(t, time.Minute)
			d.WantAnswer(title, "")
			wantTitle(d)
			d.Tell("fail it is no good")
			program.WantRollback(d, "it is no good")
		})
	}
}

func wantTitle(d *daemontest.Daemon) {
	d.T.Helper()
	line := string(testprocess.ReadFile(d.T, fmt.Sprintf("/proc/%d/cmdline", d.PID())))
	if !strings.HasPrefix(line, "daemon: idle\x00\x00") {
		d.T.Fatalf("the title is %q: this test proves nothing", line)
	}
}

// wantSameStart compares arguments and environment of the image that runs with those of an
// earlier one.
func wantSameStart(d *daemontest.Daemon, before daemontest.Status) {
	d.T.Helper()
	if got, want := fmt.Sprintf("%q", d.Last.Args), fmt.Sprintf("%q", before.Args); got != want {
		d.T.Errorf("arguments %s, want %s", abridged(got), abridged(want))
	}
	if got, want := fmt.Sprintf("%q", d.Last.Env), fmt.Sprintf("%q", before.Env); got != want {
		d.T.Errorf("environment %s, want %s", got, want)
	}
}

func abridged(s string) string { return s[:min(len(s), 1000)] }

// execWithArguments is a helper that executes itself as the daemon, with as many arguments as
// countEnv says.
const (
	execWithArguments = "exec with arguments"
	countEnv          = "AUTORESTART_TEST_COUNT"
)

var _ = testprocess.RegisterHelper(execWithArguments, func() {
	var count int
	if _, err := fmt.Sscan(os.Getenv(countEnv), &count); err != nil {
		panic(err)
	}
	args := make([]string, count)
	for i := range args {
		args[i] = fmt.Sprint(i % 1000)
	}
	os.Setenv(testprocess.HelperEnv, program.Name)
	panic(syscall.Exec(os.Args[0], args, os.Environ()))
})

// TestNumberOfArguments: with none the kernel passes an empty argv[0], since Linux 5.18.
func TestNumberOfArguments(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 1, 100_000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			d.Setenv(testprocess.UseHelper(t, execWithArguments))
			d.Setenv(program.ManualEnv + "=1")
			d.Setenv(fmt.Sprint(countEnv, "=", count))
			before := d.Start()
			if n := len(before.Args); n != count && n != 1 {
				t.Fatalf("%d arguments, want %d", n, count)
			}
			for range 2 {
				d.Restart()
				wantSameStart(d, before)
			}
		})
	}
}
