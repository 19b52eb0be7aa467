//go:build linux

package integrationtest

import (
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest/program"
)

// A handover that can't be understood is ignored, and its files are closed.
func TestDamagedHandover(t *testing.T) {
	t.Parallel()
	const manifest = "pid=PID,manifest=MANIFEST,"
	for _, test := range []struct{ name, command, logged string }{
		{"other process", "exec-with pid=1,manifest=MANIFEST,", "it is for another process"},
		{"no process", "exec-with manifest=MANIFEST,", "it is for another process"},
		{"cut", "exec-with pid=PID,manifest=", "it is cut or damaged"},
		{"garbage", "exec-with !", "it is cut or damaged"},
		{"later manifest", "exec-with " + manifest + " autorestart manifest 2\\n", "another version"},
		{"empty manifest", "exec-with " + manifest, "another version"},
		{"cut manifest", "exec-with " + manifest + " autorestart manifest 1\\nf\\x04pipe", "cut or damaged"},
		{"no manifest", "exec-with pid=PID,manifest=1000,", "bad file descriptor"},
		{"stolen file", "exec-with " + manifest + " autorestart manifest 1\\nf\\x04pipe\\x01\\x02e\\x00\\x00", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := program.New(t)
			d.Start()
			d.WantAnswer("pass pipe one", "<nil>")
			d.WaitForWatch()
			d.Tell(test.command)
			d.WantRestart(1)
			d.WantAnswer("names", "")
			d.WantAnswer("inherit pipe", "inherit pipe: file does not exist")
			if test.logged != "" {
				d.WantLogged(test.logged)
			}
			d.WantAnswer("ready", "")
			d.WantAnswer("pass pipe two", "<nil>")
			d.DeployVersion(2)
			d.WantRestart(2)
			d.WantAnswer("inherit pipe", "two, <nil>")
		})
	}
}

// Any user can set the variable for a setuid program, which ignores it.
func TestElevatedTakesNothing(t *testing.T) {
	d := newPrivileged(t, setuid(t))
	d.Start()
	d.WantAnswer("pass pipe one", "<nil>")
	d.Tell("exec-with pid=PID,manifest=MANIFEST,previous=MANIFEST,ready=1,")
	d.WantRestart(1)
	d.WantLogged("other rights than its starter")
	d.WantAnswer("generation", "0")
	// It passes nothing on either.
	deployPrivileged(d, 2, setuid(t))
	if comm := d.WantRestart(2).Comm; comm != "app" {
		t.Errorf("the process is named %q", comm)
	}
	d.WantAnswer("names", "")
}
