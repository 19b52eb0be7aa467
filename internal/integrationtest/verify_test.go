//go:build linux

package integrationtest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The version that runs is the one that Verify has accepted.
func TestVerifyHasTheLastWord(t *testing.T) {
	d := program.New(t)
	link := filepath.Join(filepath.Dir(d.Path), "current-app")
	if err := os.Symlink("app", link); err != nil {
		t.Fatal(err)
	}
	d.Cmd.Path, d.Cmd.Args[0] = link, link
	if daemontest.HaveEvents { // only the kernel knows the link then
		d.Cmd.Args[0] = "worker"
	}
	d.Setenv(program.VerifyEnv + "=1")
	first := d.Start()

	d.DeployVersion(2)
	if name := d.Want("verifying"); name != link {
		t.Errorf("verifying %q, expected %q", name, link)
	}
	d.Tell("verify too young")
	d.WantLogged("a version that Verify has rejected (too young)")

	d.DeployVersion(3)
	d.Want("verifying")
	// Replaced after it was opened: the accepted version runs.
	d.DeployVersion(4)
	d.Tell("verify")
	d.Want("verifying")
	d.Tell("verify")
	after := d.WantRestart(4)
	if after.Comm != first.Comm || !slices.EqualFunc(after.Args, first.Args, bytes.Equal) {
		t.Errorf("name %q, arguments %q; before %q, %q", after.Comm, after.Args, first.Comm, first.Args)
	}

	// The link is still watched.
	d.Write(filepath.Join(filepath.Dir(d.Path), "app-5"), daemontest.Image(t, 5))
	if err := os.Symlink("app-5", link+".new"); err != nil {
		t.Fatal(err)
	}
	d.Rename(link+".new", link)
	d.Want("verifying")
	// Written to after it was opened: the same inode, not the same bytes.
	f, err := os.OpenFile(filepath.Join(filepath.Dir(d.Path), "app-5"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(daemontest.Trailer(6), int64(len(daemontest.Binary(t)))); err != nil {
		t.Fatal(err)
	}
	f.Close()
	d.Tell("verify")
	d.Want("verifying")
	d.Tell("verify")
	d.WantRestart(6)
}

// While a version is verified no process writes into its file. A process that wants to does not
// wait for long, and the version is verified again.
func TestVerifyHoldsALease(t *testing.T) {
	d := program.New(t)
	d.Setenv(program.VerifyEnv + "=1")
	d.Start()
	d.DeployVersion(2)
	d.Want("verifying")
	// That a process has asked is enough: the lease gives way.
	f, err := os.OpenFile(d.Path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		f.Close()
		if daemontest.HaveEvents {
			t.Fatal("no lease")
		}
		t.Skip("no leases here")
	}
	if !errors.Is(err, syscall.EAGAIN) {
		t.Fatal(err)
	}
	watch := testprocess.StartStopwatch()
	f, err = os.OpenFile(d.Path, os.O_WRONLY, 0)
	if took := watch.Elapsed(); err != nil || took > 10*time.Second {
		t.Fatalf("to open it took %v, %v", took, err)
	}
	f.Close()
	d.Tell("verify")
	d.Want("verifying")
	d.Tell("verify")
	d.WantRestart(2)
}

// Any user who can write a file that root executes is root. root executes only files
// that it alone can write.
func TestRootTrustsItsOwn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const stranger = 12345
	for _, tt := range []struct {
		name   string
		spoil  func(name string) error
		logged string
		mend   func(name string) error
	}{
		{"owner", func(name string) error { return os.Chown(name, stranger, 0) },
			"belongs to UID 12345", func(name string) error { return os.Chown(name, 0, 0) }},
		{"group", func(name string) error { return os.Chmod(name, 0o775) },
			"GID 0 can write", func(name string) error { return os.Chmod(name, 0o755) }},
		{"everybody", func(name string) error { return os.Chmod(name, 0o757) },
			"everybody can write", func(name string) error { return os.Chmod(name, 0o755) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := program.New(t)
			d.Start()
			d.WaitForWatch()
			d.Write(d.Path+".new", daemontest.Image(t, 2))
			if err := tt.spoil(d.Path + ".new"); err != nil {
				t.Fatal(err)
			}
			d.Rename(d.Path+".new", d.Path)
			d.WantLogged(tt.logged)
			if err := tt.mend(d.Path); err != nil {
				t.Fatal(err)
			}
			d.WantRestart(2)
		})
	}
}
