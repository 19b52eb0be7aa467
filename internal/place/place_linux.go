package place

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A Placement is a file on its way to its place. All names are looked up in one directory, by its descriptor: what
// becomes of the path meanwhile does not matter.
type Placement struct {
	dir    *os.File
	path   string // of the directory
	name   string // in it
	source string // as the user has named it
	old    *os.File
	oldID  candidate.ID
	temps  map[string]string // temporary names, by the names that they are for
	placed []string          // names that have got their files
	keeps  bool              // the file with the previous version stays
	mark   string
	warned []string
}

// Prepare copies the file source into the directory of the executable at path, with the attributes of that. If
// rollback is set, source is empty, and the previous version is copied. It waits at most for the given time until no
// other process deploys into the directory, or without a limit if that is 0. The caller closes the placement.
func Prepare(ctx context.Context, source, path string, rollback bool, lockWithin time.Duration) (p *Placement, err error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if target, err = filepath.Abs(target); err != nil {
		return nil, err
	}
	dir, err := os.OpenFile(filepath.Dir(target), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	p = &Placement{dir: dir, path: filepath.Dir(target), name: filepath.Base(target), source: source, temps: map[string]string{}}
	if err := p.lock(ctx, lockWithin); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.prepare(ctx, rollback); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Target returns the path of the file that is replaced.
func (p *Placement) Target() string { return filepath.Join(p.path, p.name) }

// Old identifies the file that is replaced.
func (p *Placement) Old() candidate.ID { return p.oldID }

// Mark is that of the new file, as candidate.ID.Mark formats it.
func (p *Placement) Mark() string { return p.mark }

// New returns the path of the file that is about to be put in place.
func (p *Placement) New() string { return filepath.Join(p.path, p.temps[p.name]) }

func (p *Placement) prepare(ctx context.Context, rollback bool) (err error) {
	if p.old, p.oldID, err = p.openOld(); err != nil {
		return err
	}
	if st, err := p.stat(p.name + PreviousSuffix); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return &foundError{p.Target() + PreviousSuffix, "a directory", "a name for the previous version"}
	}
	var source *os.File
	if rollback {
		p.source = p.Target() + PreviousSuffix
		source, err = p.openAt(p.name + PreviousSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			return &fs.PathError{Op: "rollback", Path: p.source, Err: ErrNoPrevious}
		}
	} else {
		source, err = openRegular(p.source)
	}
	if err != nil {
		return err
	}
	defer source.Close()
	if err := p.checkSource(source); err != nil {
		return err
	}
	return p.copies(ctx, source, rollback)
}

// lock waits until no other process deploys into the directory. The lock ends with Commit or Close. Some file systems
// have no locks. The time is limited: each user who may read the directory may lock it, too.
func (p *Placement) lock(ctx context.Context, within time.Duration) error {
	var limit <-chan time.Time
	if within > 0 {
		limit = time.After(within)
	}
	for unix.Flock(int(p.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK {
		select {
		case <-time.After(lockPause):
		case <-limit:
			return &lockError{p.path, within}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

const lockPause = 5 * time.Millisecond

// copies makes all temporary files.
func (p *Placement) copies(ctx context.Context, source *os.File, rollback bool) error {
	id, err := p.copy(ctx, source, p.name, p.old)
	if err != nil {
		return err
	}
	p.mark = id.Mark()
	for _, suffix := range signatureSuffixes {
		var signature *os.File
		if rollback {
			signature, err = p.openAt(p.name + PreviousSuffix + suffix)
		} else {
			signature, err = openRegular(p.source + suffix)
		}
		old, statErr := p.stat(p.name + suffix)
		switch {
		case statErr == nil && old.Mode&unix.S_IFMT != unix.S_IFREG:
			if err == nil {
				signature.Close()
			}
			return &foundError{p.Target() + suffix, "no regular file", "a signature"}
		case err == nil:
			like, likeErr := p.openPath(p.name + suffix)
			_, err = p.copy(ctx, signature, p.name+suffix, like)
			signature.Close()
			if likeErr == nil {
				like.Close()
			}
			if err != nil {
				return err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return err
		case statErr == nil:
			p.warned = append(p.warned, p.Target()+suffix+" is the signature of the previous version: there is no "+p.source+suffix)
		}
	}
	return nil
}

func (p *Placement) openOld() (old *os.File, id candidate.ID, err error) {
	if old, err = p.openPath(p.name); err != nil {
		return nil, id, err
	}
	st, err := sys.StatFile(old)
	if err != nil {
		return nil, id, err
	}
	id = candidate.ID(st)
	if !id.Regular {
		old.Close()
		return nil, id, &foundError{p.Target(), "no regular file", "an executable"}
	}
	return old, id, nil
}

func (p *Placement) checkSource(source *os.File) error {
	st, err := sys.StatFile(source)
	switch id := candidate.ID(st); {
	case err != nil:
		return &fs.PathError{Op: "stat", Path: p.source, Err: err}
	case id.Size == 0:
		return &foundError{p.source, "an empty file", "an executable"}
	case id.Dev == p.oldID.Dev && id.Ino == p.oldID.Ino:
		return &foundError{p.source, "the very file that is to be replaced", "another file"}
	}
	return nil
}

// openRegular opens a file to be copied.
func openRegular(path string) (*os.File, error) {
	f, err := sys.OpenRegular(path)
	switch {
	case errors.Is(err, sys.ErrNotRegular):
		return nil, &foundError{path, "no regular file", "an executable"}
	case err != nil && !errors.As(err, new(*fs.PathError)):
		err = &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return f, err
}

// openAt opens a file of the directory, which is no link, to be copied.
func (p *Placement) openAt(name string) (*os.File, error) {
	path := filepath.Join(p.path, name)
	fd, err := unix.Openat(int(p.dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, &foundError{path, "no regular file", "an executable"}
	}
	return f, nil
}

// openPath opens a file of the directory without any right to it.
func (p *Placement) openPath(name string) (*os.File, error) {
	path := filepath.Join(p.path, name)
	fd, err := unix.Openat(int(p.dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (p *Placement) stat(name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(int(p.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// temp returns a new temporary name for a file that is to get another name.
func (p *Placement) temp(name string) string {
	temp := "." + name[:min(len(name), 200)] + ".deploy-" + strconv.FormatUint(rand.Uint64(), 36)
	p.temps[name] = temp
	return temp
}

// copy copies a file to a temporary one that is to get the name, with the attributes of another.
func (p *Placement) copy(ctx context.Context, source *os.File, name string, like *os.File) (candidate.ID, error) {
	before, err := sys.StatFile(source)
	if err != nil {
		return candidate.ID{}, err
	}
	temp := p.temp(name)
	fd, err := unix.Openat(int(p.dir.Fd()), temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		delete(p.temps, name)
		return candidate.ID{}, &fs.PathError{Op: "create", Path: filepath.Join(p.path, temp), Err: err}
	}
	to := os.NewFile(uintptr(fd), filepath.Join(p.path, temp))
	defer to.Close()
	if err := copyContent(ctx, to, source); err != nil {
		return candidate.ID{}, err
	}
	after, err := sys.StatFile(source)
	id, idErr := sys.StatFile(to)
	switch {
	case err != nil || idErr != nil:
		return candidate.ID{}, errors.Join(err, idErr)
	case candidate.ID(before).Mark() != candidate.ID(after).Mark() || after.Size != id.Size:
		return candidate.ID{}, &foundError{source.Name(), "a file that was written while it was copied", "one that stays the same"}
	}
	if err := p.setAttributes(to, like); err != nil {
		return candidate.ID{}, err
	}
	if err := to.Sync(); err != nil {
		return candidate.ID{}, err
	}
	id, err = sys.StatFile(to)
	return candidate.ID(id), err
}

// copyContent copies a file as a clone, or in the kernel, where the file system can.
func copyContent(ctx context.Context, to, from *os.File) error {
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	const step = 16 << 20
	for {
		_, err := io.CopyN(to, from, step)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
}

// Current reports whether the file that was put in place is still there.
func (p *Placement) Current() bool {
	st, err := p.stat(p.name)
	if err != nil {
		return false
	}
	id := candidate.ID{Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano()}
	return id.Mark() == p.mark
}

// Close removes the files that have not got their names.
func (p *Placement) Close() {
	for _, temp := range p.temps {
		unix.Unlinkat(int(p.dir.Fd()), temp, 0)
	}
	if p.old != nil {
		p.old.Close()
	}
	p.dir.Close()
}
