//go:build linux && !autorestart_portable

package systemd_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Kills within a restart in place.

// slow is the version of testdata/crashing that waits for the file "go".
const slow = 500

// file is the path of a file beside the executable.
func (d *daemon) file(name string) string { return filepath.Join(filepath.Dir(d.path), name) }

// A daemon that is killed while a version is on trial, and while it is drained, keeps what it has.
func TestKillsWithinRestart(t *testing.T) {
	d, c := killable(t, "killedwithin", 8111, "")
	files := d.page("/files")

	d.deploy(slow)
	d.WantLogged(t, d.unit, "msg=waiting generation=1")
	c.during(func() {
		d.kill(syscall.SIGKILL)
		d.WantLogged(t, d.unit, "msg=waiting generation=0") // of the process that systemd has started
		d.WriteFile(t, d.file("go"), 0o644, nil)
	})

	c.during(func() {
		held := make(chan error)
		go func() {
			_, err := d.get("/hold")
			held <- err
		}()
		d.WantLogged(t, d.unit, "holding a request")
		d.deploy(2)
		testprocess.WaitFor(t, "drain", func() bool {
			return strings.Contains(d.Property(t, d.unit, "StatusText"), "is being replaced")
		})
		d.kill(syscall.SIGKILL)
		if err, _ := testprocess.Receive(t, "end of a held request", held); err == nil {
			t.Error("the held request was answered")
		}
	})
	if version, now := d.page("/"), d.page("/files"); version != "2" || now != files {
		t.Errorf("version %s serves, the files contain %q, expected %q", version, now, files)
	}
	c.stop()
	c.check()
}
