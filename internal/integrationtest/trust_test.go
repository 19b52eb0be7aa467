//go:build linux

package integrationtest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// stranger is a user without rights, nobody.
const stranger = 65534

// needRoot skips a test about a daemon of root without root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: only root can give files away")
	}
}

// linkedDaemon is a daemon that is started by a symbolic link to the directory of its
// version:
//
//	links/current -> ../apps/1
//	apps/1/app, apps/2/app, ...
type linkedDaemon struct {
	*daemontest.Daemon
	dir string
}

func newLinkedDaemon(t *testing.T) *linkedDaemon {
	d := program.New(t)
	l := &linkedDaemon{d, filepath.Dir(d.Path)}
	d.Mkdir(l.in("links"))
	d.Mkdir(l.in("apps"))
	l.stage(1)
	d.Symlink("../apps/1", l.in("links/current"))
	d.StartedAs(l.in("links/current/app"))
	return l
}

func (l *linkedDaemon) in(name string) string { return filepath.Join(l.dir, name) }

// stage writes a version into the directory of its own.
func (l *linkedDaemon) stage(version int) {
	l.T.Helper()
	dir := l.in("apps/" + strconv.Itoa(version))
	l.Mkdir(dir)
	l.StageIn(dir, version)
}

// flip has the link lead to another version, after the new link was prepared.
func (l *linkedDaemon) flip(version int, prepare func(link string) error) {
	l.T.Helper()
	link := l.in("links/current")
	l.Symlink("../apps/"+strconv.Itoa(version), link+".new")
	if prepare != nil {
		if err := prepare(link + ".new"); err != nil {
			l.T.Fatal(err)
		}
	}
	l.Rename(link+".new", link)
}

// wantRestartAfter deploys version 3 after the reason was mended for which version 2 was
// rejected. Version 2 is taken away first: it may be looked at again at any time, and would be
// accepted from then on.
func (l *linkedDaemon) wantRestartAfter(mend func()) {
	l.T.Helper()
	l.flip(1, nil)
	mend()
	l.flip(3, nil)
	l.WantRestart(3)
}

// wantRejected waits until the daemon has logged that the new version is rejected, with
// these texts in the line. No other version may start.
func wantRejected(d *daemontest.Daemon, texts ...string) {
	d.T.Helper()
	testprocess.WaitFor(d.T, "rejection with "+strings.Join(texts, " and "), func() bool {
		if s, ok := d.PendingStart(); ok {
			d.T.Fatalf("version %d was executed, want it rejected with %q", s.Version, texts)
		}
		for line := range strings.Lines(d.Log()) {
			found := strings.Contains(line, "rejected")
			for _, text := range texts {
				found = found && strings.Contains(line, text)
			}
			if found {
				return true
			}
		}
		return false
	})
}

// Whoever can change a directory or a link of the path decides what runs, as much as
// whoever can write the file. root passes through none that another user can change.
func TestRootTrustsTheWholePath(t *testing.T) {
	t.Parallel()
	needRoot(t)
	chown := func(name string) func(*linkedDaemon) error {
		return func(l *linkedDaemon) error { return os.Chown(l.in(name), stranger, stranger) }
	}
	chmod := func(name string, perm os.FileMode) func(*linkedDaemon) error {
		return func(l *linkedDaemon) error { return os.Chmod(l.in(name), perm) }
	}
	for _, tt := range []struct {
		name  string
		spoil func(*linkedDaemon) error
		link  func(name string) error // spoils the new link
		entry string                  // that is named in the log
		found string
	}{
		{"directory of a link", chown("links"), nil, "links", "belongs to UID 65534"},
		{"directory of a file", chown("apps/2"), nil, "apps/2", "belongs to UID 65534"},
		{"directory above", chown("apps"), nil, "apps", "belongs to UID 65534"},
		{"link", nil, func(link string) error { return os.Lchown(link, stranger, 0) }, "links/current", "belongs to UID 65534"},
		{"link in a sticky directory", chmod("links", os.ModeSticky|0o777),
			func(link string) error { return os.Lchown(link, stranger, 0) }, "links/current", "belongs to UID 65534"},
		{"sticky directory", func(l *linkedDaemon) error {
			if err := os.Chown(l.in("links"), stranger, 0); err != nil {
				return err
			}
			return os.Chmod(l.in("links"), os.ModeSticky|0o777)
		}, nil, "links", "belongs to UID 65534"},
		{"directory of a group", chmod("links", 0o775), nil, "links", "GID 0 can write"},
		{"directory of everybody", chmod("apps", 0o757), nil, "apps", "everybody can write"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLinkedDaemon(t)
			l.stage(2)
			l.stage(3)
			l.Start()
			l.WaitForWatch()
			if tt.spoil != nil {
				if err := tt.spoil(l); err != nil {
					t.Fatal(err)
				}
			}
			l.flip(2, tt.link)
			wantRejected(l.Daemon, l.in(tt.entry)+", ", tt.found)
			l.wantRestartAfter(func() {
				testprocess.Run(t, "chown", "-h", "0:0", l.in(tt.entry))
				testprocess.Run(t, "chmod", "755", l.in(tt.entry))
			})
		})
	}
}

// The owner of a directory is set right: no event tells of that, and the file is the same
// as before. The daemon looks again by itself.
func TestRootLooksAgainAtTheDirectories(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("waits for 15 seconds")
	}
	t.Parallel()
	l := newLinkedDaemon(t)
	l.stage(2)
	l.Start()
	l.WaitForWatch()
	if err := os.Chown(l.in("links"), stranger, 0); err != nil {
		t.Fatal(err)
	}
	l.flip(2, nil)
	wantRejected(l.Daemon, l.in("links")+", ", "belongs to UID 65534")
	if err := os.Chown(l.in("links"), 0, 0); err != nil {
		t.Fatal(err)
	}
	l.WantRestart(2)
	if n := strings.Count(l.Log(), "rejected"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// A user who owns the running image decides already what root runs. In a sticky directory
// a user can change only entries of their own.
func TestRootTrustsDeployUserAndStickyDirectories(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, tt := range []struct {
		name    string
		prepare func(*linkedDaemon) // before the daemon starts
	}{
		{"deploy user", func(l *linkedDaemon) {
			testprocess.Run(t, "chown", "-hR", "12345:12345", l.in("links"), l.in("apps"))
		}},
		{"sticky directories", func(l *linkedDaemon) {
			testprocess.Run(t, "chmod", "1777", l.in("links"), l.in("apps"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLinkedDaemon(t)
			l.stage(2)
			tt.prepare(l)
			l.Start()
			l.WaitForWatch()
			l.flip(2, nil)
			l.WantRestart(2)
		})
	}
}

// A process with capabilities is not in the hands of the other processes of its user,
// which have none.
func TestCapableTrustsNoFileOfItsOwnUser(t *testing.T) {
	needKernelTrust(t)
	testprocess.NeedTool(t, "setcap")
	setcap := func(name string) { testprocess.Run(t, "setcap", "cap_net_bind_service=+ep", name) }
	d := program.New(t)
	needCapabilities(t, filepath.Dir(d.Path))
	setcap(d.Path)
	d.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	d.Start()
	d.WaitForWatch()
	d.Write(d.Path+".new", daemontest.Image(t, 2))
	if err := os.Chown(d.Path+".new", stranger, stranger); err != nil {
		t.Fatal(err)
	}
	setcap(d.Path + ".new")
	d.Rename(d.Path+".new", d.Path)
	wantRejected(d, "belongs to UID 65534")
	testprocess.Run(t, "chown", "0:0", d.Path)
	setcap(d.Path) // chown has removed them
	d.WantRestart(2)
}
