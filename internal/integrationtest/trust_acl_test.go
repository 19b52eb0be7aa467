//go:build linux

package integrationtest

import (
	"os"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// An ACL lets a user write whom owner and mode don't tell of: the group's bits of the
// mode are its mask.
func TestRootReadsACLs(t *testing.T) {
	t.Parallel()
	needKernelTrust(t)
	testprocess.NeedTool(t, "setfacl")
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		d := program.New(t)
		// What the group could write already is no reason to reject a version.
		if err := os.Chmod(d.Path, 0o775); err != nil {
			t.Fatal(err)
		}
		d.Start()
		d.WaitForWatch()
		d.Write(d.Path+".new", daemontest.Image(t, 2))
		testprocess.Run(t, "setfacl", "-m", "u:12345:rwx", d.Path+".new")
		if info, err := os.Stat(d.Path + ".new"); err != nil || info.Mode().Perm() != 0o775 {
			t.Fatalf("mode %v, %v", info.Mode(), err)
		}
		d.Rename(d.Path+".new", d.Path)
		wantRejected(d, "UID 12345 can write", "setfacl -x u:12345")
		testprocess.Run(t, "setfacl", "-x", "u:12345", d.Path)
		d.WantRestart(2)
	})
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		l := newLinkedDaemon(t)
		l.stage(2)
		l.stage(3)
		l.Start()
		l.WaitForWatch()
		testprocess.Run(t, "setfacl", "-m", "g:12345:rwx", l.in("links"))
		l.flip(2, nil)
		wantRejected(l.Daemon, l.in("links")+", ", "GID 12345 can write", "setfacl -x g:12345")
		l.wantRestartAfter(func() {
			testprocess.Run(t, "setfacl", "-x", "g:12345", l.in("links"))
		})
	})
	t.Run("running image", func(t *testing.T) {
		t.Parallel()
		d := program.New(t)
		testprocess.Run(t, "setfacl", "-m", "u:12345:rwx", d.Path)
		d.Start()
		d.WaitForWatch()
		d.Write(d.Path+".new", daemontest.Image(t, 2))
		testprocess.Run(t, "setfacl", "-m", "u:12345:rwx", d.Path+".new")
		d.Rename(d.Path+".new", d.Path)
		d.WantRestart(2)
	})
}
