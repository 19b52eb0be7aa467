// Package candidatetest has a system in memory, for tests of packages candidate and
// watch.
package candidatetest

import (
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
)

// A System is a [candidate.System] whose files are in memory. Every path above a file or
// a symbolic link is a directory of root. All are on mount 1. Set the exported fields before the system is
// used. Its methods may be called by any goroutine.
type System struct {
	Self        candidate.Credentials
	IDs         candidate.Namespace
	Kind        elfimage.Kind              // of the running image
	Busy        bool                       // the running image can't be written
	SharesPages bool                       // as a path-based FUSE file system, see SetStale
	Faults      map[string]error           // by path: answers to Open
	EntryFaults map[string]error           // by path: answers to Entry
	Mounts      map[uint64]candidate.Mount // by [candidate.Entry.Mount]

	mu      sync.Mutex
	files   map[string]*inode
	links   map[string]string // targets
	edits   map[string]func(*candidate.Entry)
	running *inode
	started candidate.ID // of the running image, when it was started
	inodes  uint64
	clock   int64 // nanoseconds since 1970; each change takes one
	open    int   // files
	stale   int   // openings to come

	openings int
}

type inode struct {
	id            candidate.ID
	content       []byte
	capable, busy bool
}

var _ candidate.System = (*System)(nil)

// Deploy puts a new file in the place of whatever is at the path.
func (s *System) Deploy(path string, content []byte, perm uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[string]*inode{}
	}
	s.inodes++
	n := &inode{content: content}
	n.id = candidate.ID{Dev: 1, Ino: s.inodes, Size: int64(len(content)), Perm: perm, Regular: true}
	s.clock++
	n.id.Mtime, n.id.Ctime = s.clock, s.clock
	s.files[path] = n
}

// Change changes the file at the path: its content, if f returns another one, and of
// its ID what f sets. The time of the change is set, and that of the content if it is
// another.
func (s *System) Change(path string, f func(id *candidate.ID, content []byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.files[path]
	s.clock++
	n.id.Ctime = s.clock
	if content := f(&n.id, n.content); content != nil {
		n.content = content
		n.id.Mtime, n.id.Size = s.clock, int64(len(content))
	}
}

// Chmod sets the mode of the file at the path.
func (s *System) Chmod(path string, perm uint32) {
	s.Change(path, func(id *candidate.ID, _ []byte) []byte {
		id.Perm = perm
		return nil
	})
}

// Touch sets the time stamp of the file at the path.
func (s *System) Touch(path string) {
	s.Change(path, func(id *candidate.ID, _ []byte) []byte {
		id.Mtime = id.Ctime
		return nil
	})
}

// Write writes new content in place, without closing the file if busy.
func (s *System) Write(path string, content []byte, busy bool) {
	s.Change(path, func(*candidate.ID, []byte) []byte { return content })
	s.SetBusy(path, busy)
}

// SetBusy says whether the file at the path is open for writing.
func (s *System) SetBusy(path string, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path].busy = busy
}

// SetStale has so many openings of files find the content of the running image, as pages of it in
// the page cache of the file at its path.
func (s *System) SetStale(openings int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = openings
}

// SetCapable says whether the file at the path has capabilities.
func (s *System) SetCapable(path string, capable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path].capable = capable
}

// Remove removes the file at the path.
func (s *System) Remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, path)
}

// Rename gives the file at a path another one.
func (s *System) Rename(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[to] = s.files[from]
	delete(s.files, from)
}

// Run makes the file at the path the running image.
func (s *System) Run(path string) {
	s.mu.Lock()
	n := s.files[path]
	s.running, s.started = n, n.id
	s.mu.Unlock()
	s.Kind, _ = elfimage.ReadKind(handle{s, n, n}, n.id.Size)
}

// OpenFiles returns how many files are open.
func (s *System) OpenFiles() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Openings returns how often files were opened by a path.
func (s *System) Openings() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openings
}

// Symlink makes a symbolic link of root.
func (s *System) Symlink(target, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links == nil {
		s.links = map[string]string{}
	}
	s.links[path] = target
}

// Edit has edit change what Entry tells of a path from now, or RunningEntry of [Running].
// To change a file, use Change.
func (s *System) Edit(path string, edit func(*candidate.Entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.edits == nil {
		s.edits = map[string]func(*candidate.Entry){}
	}
	s.edits[path] = edit
}

// find follows symbolic links.
func (s *System) find(op, path string) (*inode, error) {
	steps := candidate.PathSteps(path, s.readLink)
	last := steps[len(steps)-1]
	if n := s.files[join(last.Dir, last.Name)]; n != nil {
		return n, nil
	}
	return nil, &fs.PathError{Op: op, Path: path, Err: syscall.ENOENT}
}

func join(dir, name string) string { return strings.TrimSuffix(dir, "/") + "/" + name }

func (s *System) readLink(path string) (string, error) {
	if s.files[path] == nil && s.links[path] == "" && !s.isDirectory(path) {
		return "", &fs.PathError{Op: "readlink", Path: path, Err: syscall.ENOENT}
	}
	return s.links[path], nil
}

func (s *System) isDirectory(path string) bool {
	if path == "/" {
		return true
	}
	for name := range s.files {
		if strings.HasPrefix(name, path+"/") {
			return true
		}
	}
	for name := range s.links {
		if strings.HasPrefix(name, path+"/") {
			return true
		}
	}
	return false
}

func (s *System) Entry(path string) (candidate.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.EntryFaults[path]; err != nil {
		return candidate.Entry{}, err
	}
	target, err := s.readLink(path)
	if err != nil {
		return candidate.Entry{}, err
	}
	e := candidate.Entry{Target: target, Mount: 1}
	switch n := s.files[path]; {
	case n != nil:
		e.ID = n.id
	case target != "":
		e.Perm = 0o777
	default:
		e.Perm, e.Directory = 0o755, true
	}
	return s.edited(path, e), nil
}

// Mount tells of a directory or a file: the path is not to lead to a symbolic link.
func (s *System) Mount(path string, _ uint64) candidate.Mount {
	e, err := s.Entry(path)
	if err != nil || e.Target != "" {
		return candidate.Mount{Err: syscall.EINVAL}
	}
	return s.Mounts[e.Mount]
}

func (s *System) edited(path string, e candidate.Entry) candidate.Entry {
	if edit := s.edits[path]; edit != nil {
		edit(&e)
	}
	return e
}

func (s *System) RunningEntry() (candidate.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return candidate.Entry{}, fs.ErrNotExist
	}
	return s.edited(Running, candidate.Entry{ID: s.running.id, Mount: 1}), nil
}

func (s *System) Open(path string) (candidate.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Faults[path]; err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	n, err := s.find("open", path)
	if err != nil {
		return nil, err
	}
	if !n.id.Regular {
		return nil, candidate.ErrNotRegular
	}
	s.open++
	s.openings++
	if s.stale > 0 {
		s.stale--
		return handle{s, n, s.running}, nil
	}
	return handle{s, n, n}, nil
}

func (s *System) Stat(path string) (candidate.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.find("stat", path)
	if err != nil {
		return candidate.ID{}, err
	}
	return n.id, nil
}

func (s *System) StatFile(f candidate.File) (candidate.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.(handle).inode.id, nil
}

func (s *System) MayExecute(_ string, id candidate.ID) error {
	if id.Perm&0o111 == 0 {
		return syscall.EACCES
	}
	return nil
}

func (s *System) OpenForWriting(f candidate.File) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.(handle).inode.busy
}

func (s *System) HasCapabilities(f candidate.File) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.(handle).inode.capable
}

func (s *System) Credentials() candidate.Credentials { return s.Self }
func (s *System) Namespace() candidate.Namespace     { return s.IDs }
func (s *System) RunningKind() elfimage.Kind         { return s.Kind }
func (s *System) RunningIsBusy() bool                { return s.Busy }

func (s *System) RunningIsCoherent() bool { return !s.SharesPages }

func (s *System) RunningChanged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running != nil && !s.Busy && !s.running.id.SameMark(&s.started)
}

func (s *System) RunningID() candidate.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return candidate.ID{}
	}
	if !s.Busy && !s.running.id.SameMark(&s.started) {
		return s.started
	}
	return s.running.id
}

// Running is the path in Faults for [System.OpenRunning], and for [System.Edit].
const Running = "the running image"

func (s *System) OpenRunning() (candidate.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Faults[Running]; err != nil {
		return nil, err
	}
	if s.running == nil {
		return nil, fs.ErrNotExist
	}
	s.open++
	return handle{s, s.running, s.running}, nil
}

// A handle is an open file.
type handle struct {
	sys   *System
	inode *inode
	pages *inode // whose content is read
}

func (h handle) ReadAt(b []byte, off int64) (int, error) {
	h.sys.mu.Lock()
	defer h.sys.mu.Unlock()
	content := h.pages.content
	if off >= int64(len(content)) {
		return 0, io.EOF
	}
	n := copy(b, content[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h handle) Close() error {
	h.sys.mu.Lock()
	defer h.sys.mu.Unlock()
	h.sys.open--
	return nil
}
