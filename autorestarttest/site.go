package autorestarttest

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/autorestart-go/autorestart/autorestarttest/internal/protocol"
)

// A site is the directory in which a daemon is deployed:
//
//	releases/1/NAME, releases/2/NAME
//	current -> releases/1               the daemon is started as current/NAME
type site struct{ dir, name string }

func (s site) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s site) executable() string { return s.path("current", s.name) }

// A siteVersion is a version that has not been deployed yet.
type siteVersion struct {
	site
	content executable
	label   protocol.Label
}

func (s site) version(e executable, l protocol.Label) siteVersion { return siteVersion{s, e, l} }

// putFirst creates the directories, and deploys the first version.
func (v siteVersion) putFirst() error {
	if err := os.Mkdir(v.path("releases"), 0o755); err != nil {
		return err
	}
	return v.put(BySymlink)
}

func (v siteVersion) put(way Way) error {
	at, fresh := v.executable(), v.path("current.new")
	switch way {
	case ByRename:
		fresh := at + ".new"
		return first(
			func() error { return v.write(fresh, 0o755) },
			func() error { return os.Rename(fresh, at) })
	case ByCopy:
		return first(
			func() error { return os.Remove(at) },
			func() error { return v.write(at, 0o755) })
	case ByInstall:
		return first(
			func() error { return os.Remove(at) },
			func() error { return v.write(at, 0o600) },
			func() error { return os.Chmod(at, 0o755) })
	case ByLink:
		staged := v.path("staged" + strconv.Itoa(v.label.Version))
		return first(
			func() error { return v.write(staged, 0o755) },
			func() error { return os.Remove(at) },
			func() error { return os.Link(staged, at) })
	case BySymlink:
		release := filepath.Join("releases", strconv.Itoa(v.label.Version))
		return first(
			func() error { return os.Mkdir(v.path(release), 0o755) },
			func() error { return v.write(v.path(release, v.name), 0o755) },
			func() error { return os.Symlink(release, fresh) },
			func() error { return os.Rename(fresh, v.path("current")) })
	}
	return errors.New("there is no such way")
}

// first calls the steps up to the first that fails, and returns its error.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// write creates a file. No child is forked while it is open for writing: one that had a copy of
// the descriptor would make execve(2) answer ETXTBSY.
func (v siteVersion) write(name string, mode os.FileMode) (err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, io.NewSectionReader(v.content.file, 0, math.MaxInt64)); err != nil {
		return err
	}
	_, err = f.Write(v.label.Bytes())
	return err
}
