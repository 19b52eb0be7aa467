//go:build linux

package integrationtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The events of a deploy are lost because other events have filled the queue.
func TestEventQueueOverflows(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip(err)
	}
	limit, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		t.Fatal(err)
	}
	if limit > 1<<20 {
		t.Skip("more events than a test should make: ", limit)
	}
	d := program.New(t)
	staged := d.Stage(2)
	d.Start()
	d.WaitForWatch()
	stop(d)
	for i := range limit/2 + 1 { // created, closed
		name := filepath.Join(filepath.Dir(d.Path), "other-"+strconv.Itoa(i))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	d.Rename(staged, d.Path)
	d.Signal(syscall.SIGCONT)
	d.WantOneRestart(2)
}

// stop keeps the daemon from running until SIGCONT.
func stop(d *daemontest.Daemon) {
	d.T.Helper()
	d.Signal(syscall.SIGSTOP)
	testprocess.WaitFor(d.T, "stopped daemon", func() bool {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.PID()))
		_, state, _ := bytes.Cut(stat, []byte(") "))
		return bytes.HasPrefix(state, []byte("T"))
	})
}

// A deploy is found among the events of 100,000 other files.
func TestDeployAmongUnrelatedFiles(t *testing.T) {
	t.Parallel()
	const files = 100_000
	d := program.New(t)
	staged := d.Stage(2)
	d.Start()
	d.WaitForWatch()
	for i := range files {
		other := filepath.Join(filepath.Dir(d.Path), "other-"+strconv.Itoa(i))
		if err := os.WriteFile(other, []byte("unrelated"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(other); err != nil {
			t.Fatal(err)
		}
		if i == files/2 {
			d.Rename(staged, d.Path)
		}
	}
	d.WantOneRestart(2)
}
