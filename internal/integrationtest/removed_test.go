//go:build linux

package integrationtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
)

// An executable that stays away is logged once, however changes are noticed.
func TestRemovedIsLogged(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name   string
		remove func(d *daemontest.Daemon)
	}{
		{"file", func(d *daemontest.Daemon) { remove(d, d.Path) }},
		{"file, renamed", func(d *daemontest.Daemon) { d.Rename(d.Path, d.Path+".old") }},
		{"link", func(d *daemontest.Daemon) { remove(d, filepath.Dir(d.Path)) }},
		{"link, renamed", func(d *daemontest.Daemon) { d.Rename(filepath.Dir(d.Path), filepath.Dir(d.Path)+".old") }},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			released(d)
			d.Start()
			d.WaitForWatch()
			way.remove(d)
			d.WantLogged("no such file or directory")
			flipRelease(d, 2)
			d.WantRestart(2)
			if n := strings.Count(d.Log(), "no such file or directory"); n != 1 {
				t.Errorf("logged %d times, want once", n)
			}
		})
	}
}

// A deploy that removes the previous version first is not worth a line.
func TestReplacedIsNotLogged(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	d.Start()
	var missing time.Duration // at most
	for version := 2; version <= 10; version++ {
		staged := d.Stage(version)
		d.WaitForWatch()
		removed := time.Now()
		if err := os.Remove(d.Path); err != nil {
			t.Fatal(err)
		}
		d.Rename(staged, d.Path)
		missing = max(missing, time.Since(removed))
		d.WantRestart(version)
	}
	if strings.Contains(d.Log(), "no such file") && missing < 900*time.Millisecond { // then it is logged
		t.Error("logged as missing")
	}
}
