//go:build !autorestart_portable

package main

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/systemdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// systemctl reload succeeds when the new version is ready, and fails when it was rolled back. The + in
// ExecReload= takes the command out of sandboxes in which it can't see the process.
func TestReloadOfUnit(t *testing.T) {
	daemon, command := testprocess.UseHelper(t, "in a unit"), testprocess.UseHelper(t, "autorestart")
	s := systemdtest.Machine(t)
	for name, options := range map[string]string{
		"plain":           "",
		"user":            "User=daemon",
		"PID namespace":   "PrivatePIDs=yes",
		"user namespace":  "PrivateUsers=yes\nUser=daemon",
		"without /proc":   "InaccessiblePaths=/proc",
		"system calls":    "User=daemon\nSystemCallFilter=@system-service\nMemoryDenyWriteExecute=yes\nNoNewPrivileges=yes",
		"other processes": "ProtectProc=invisible\nProcSubset=pid\nUser=daemon",
	} {
		t.Run(name, func(t *testing.T) {
			unit := "reload-" + strings.NewReplacer(" ", "-", "/", "").Replace(name) + ".service"
			app := "/opt/" + unit + "/app"
			t.Cleanup(func() { s.Remove(t, path.Dir(app)) })
			s.WriteFile(t, app, 0o755, daemontest.Image(t, 1))
			s.Unit(t, unit, fmt.Sprintf(`
[Service]
Type=exec
Environment="%[1]s"
ExecStart=%[2]s
ExecReload=+/usr/bin/env %[3]s %[2]s reload $MAINPID
%[4]s
`, daemon, app, command, options))
			s.Run(t, "systemctl", "start", unit)
			pid := s.Property(t, unit, "MainPID")

			reload := func(version int) error {
				s.WriteFile(t, app, 0o755, daemontest.Image(t, version))
				_, err := s.Try("systemctl", "reload", unit)
				return err
			}
			good, bad := reload(2), reload(panicking)
			if name == "without /proc" { // no version can be rolled back there, and the daemon asks for that
				s.WantLogged(t, unit, "rejected: restart with ReadyTimeout")
				good = nil
			} else {
				s.WantLogged(t, unit, "version 2 is ready (generation 1)")
				s.WantLogged(t, unit, "rolled back: main panicked: no configuration")
			}
			if good != nil || bad == nil {
				t.Errorf("reload: %v; reload into a version that panics: %v", good, bad)
			}
			s.WantState(t, unit, "active")
			if now := s.Property(t, unit, "MainPID"); now != pid {
				t.Errorf("the main process was %s and is %s", pid, now)
			}
		})
	}
}
