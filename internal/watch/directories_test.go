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

func (n *fakeNotifier) EntryAt(step candidate.Step) EntryID {
	return n.entries[path.Join(step.Dir, step.Name)]
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
	for _, method := range []string{"ReadLink", "AddWatch", "FileSystem", "WatchMounts"} {
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
