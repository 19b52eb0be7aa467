package watch

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// A fakeNotifier has files in the directories of these paths. What happens there is nothing that
// it tells.
type fakeNotifier struct {
	links   map[string]string // targets
	entries map[string]EntryID
	types   map[string]uint32 // of file systems, by directory
	failing string            // the method that fails
	watched []string
}

// newFakeNotifier has a link to a file.
func newFakeNotifier() *fakeNotifier {
	return &fakeNotifier{
		links: map[string]string{"/srv/app": "/store/app"},
		entries: map[string]EntryID{
			"/srv": {Dev: 1, Ino: 1}, "/srv/app": {Dev: 1, Ino: 2}, "/store": {Dev: 1, Ino: 3}, "/store/app": {Dev: 1, Ino: 4},
		},
		types: map[string]uint32{},
	}
}

func (n *fakeNotifier) fail(method string) error {
	if n.failing == method {
		return syscall.EIO
	}
	return nil
}

func (n *fakeNotifier) ReadLink(name string) (string, error) {
	if n.entries[name] == (EntryID{}) {
		return "", fs.ErrNotExist
	}
	return n.links[name], n.fail("ReadLink")
}

func (n *fakeNotifier) EntryAt(step candidate.Step) (EntryID, error) {
	return n.entries[path.Join(step.Dir, step.Name)], n.fail("EntryAt")
}

func (n *fakeNotifier) AddWatch(dir string, _ bool) (int, error) {
	if !slices.Contains(n.watched, dir) {
		n.watched = append(n.watched, dir)
	}
	return slices.Index(n.watched, dir), n.fail("AddWatch")
}

func (n *fakeNotifier) RemoveWatch(watch int) { n.watched[watch] = "" }

func (n *fakeNotifier) FileSystem(dir string) (uint32, error) {
	return n.types[dir], n.fail("FileSystem")
}

func (n *fakeNotifier) WatchMounts() error { return n.fail("WatchMounts") }

// TestDirectoriesUnknown: as long as it can't be told whether there is an event for every change,
// that is an error. It is asked again.
func TestDirectoriesUnknown(t *testing.T) {
	for _, method := range []string{"ReadLink", "EntryAt", "AddWatch", "FileSystem", "WatchMounts"} {
		n := newFakeNotifier()
		n.failing = method
		var d Directories
		for range 2 {
			if _, err := d.Arm(n, "/srv/app"); !errors.Is(err, syscall.EIO) {
				t.Errorf("%s fails: %v", method, err)
			}
		}
		n.failing = ""
		if _, err := d.Arm(n, "/srv/app"); err != nil || !slices.Contains(n.watched, "/store") {
			t.Errorf("%s has failed: %v, %q", method, err, n.watched)
		}

		n = newFakeNotifier()
		n.failing = method
		n.types["/store"] = 0x6969
		d = Directories{}
		d.Arm(n, "/srv/app")
		n.failing = ""
		if _, err := d.Arm(n, "/srv/app"); err == nil || !strings.HasSuffix(err.Error(), "on nfs") {
			t.Errorf("%s has failed: %v, want one of nfs", method, err)
		}
	}
}

// TestDirectoriesRemounted: what counts is whether the path leads to another file than the one that
// the last look saw. Between Arm and a change of mounts there may have been a look at another file.
func TestDirectoriesRemounted(t *testing.T) {
	n := newFakeNotifier()
	var d Directories
	if _, err := d.Arm(n, "/srv/app"); err != nil {
		t.Fatal(err)
	}
	below, mounted := n.entries["/store/app"], EntryID{Dev: 2, Ino: 4}
	for seen, want := range map[EntryID]bool{below: false, mounted: true, {}: true} {
		if d.Remounted(n, seen) != want {
			t.Errorf("seen %v: remounted %t", seen, !want)
		}
	}
	mounted.Mounted = true
	n.entries["/store/app"] = mounted
	if !d.Remounted(n, below) || !d.Remounted(n, mounted) {
		t.Error("a mount over the file is not noticed")
	}
	if _, err := d.Arm(n, "/srv/app"); err == nil || !strings.HasSuffix(err.Error(), "/store/app: not every change is reported for a file that is mounted by itself") {
		t.Errorf("a mounted file: %v", err)
	}
	n.entries["/store/app"] = below
	if changed, err := d.Arm(n, "/srv/app"); err != nil || !changed {
		t.Errorf("unmounted: %t, %v", changed, err)
	}
}
