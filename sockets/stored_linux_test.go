package sockets_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A socket that systemd has stored for the program belongs to the program, also in a version without package systemd: it crosses
// as a socket that the program has opened, and Close removes its path.
func TestStoredSocketsBelongToTheProgram(t *testing.T) {
	path, address := filepath.Join(t.TempDir(), "socket"), "127.0.0.1:"+freePort(t)
	d, passed := activated(t, "tcp|"+address+" file|/dev/null unix|"+path, "autorestart.3x5k.0:autorestart.3x5k.log0:autorestart.3x5k.1")
	for generation := range 3 {
		if generation > 0 {
			d.Restart()
		}
		d.Ask("listen tcp "+address, "open")
		d.Ask("listen unix "+path, "open")
		wantEcho(t, "tcp", address, generation)
		wantEcho(t, "unix", path, generation)
		d.Ask("ready", "done")
		wantPassed(t, d, "", passed[1], "") // the other file is for package systemd
		if names := d.Ask("names", "names"); strings.Contains(names, "systemd-socket") || strings.Count(names, "socket ") != 2 {
			t.Errorf("passed on: %q", names)
		}
	}
	d.Ask("close 1", "closed")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the path of a closed socket is there: %v", err)
	}
	if log := d.Log(); strings.Contains(log, "ignored descriptors") {
		t.Errorf("logged %s", log)
	}
}
