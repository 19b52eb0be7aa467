// Package candidatetest has a system in memory, for tests of packages candidate and
// watch.
package candidatetest

import (
	"io"
	"io/fs"
	"sync"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
)

// A System is a [candidate.System] whose files are in memory. There are no
// directories: a file is found by its whole path. Set the exported fields before the
// system is used. Its methods may be called by any goroutine.
type System struct {
	Self   candidate.Credentials
	Kind   elfimage.Kind    // of the running image
	Busy   bool             // the running image can't be written
	Faults map[string]error // by path: answers to Open

	mu      sync.Mutex
	files   map[string]*inode
	running *inode
	inodes  uint64
	clock   int64 // nanoseconds since 1970; each change takes one
	open    int   // files
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

// Run makes the file at the path the running image.
func (s *System) Run(path string) {
	s.mu.Lock()
	n := s.files[path]
	s.running = n
	s.mu.Unlock()
	s.Kind, _ = elfimage.ReadKind(handle{s, n}, n.id.Size)
}

// OpenFiles returns how many files are open.
func (s *System) OpenFiles() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *System) find(op, path string) (*inode, error) {
	if n := s.files[path]; n != nil {
		return n, nil
	}
	return nil, &fs.PathError{Op: op, Path: path, Err: syscall.ENOENT}
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
	s.open++
	return handle{s, n}, nil
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
func (s *System) RunningKind() elfimage.Kind         { return s.Kind }
func (s *System) RunningIsBusy() bool                { return s.Busy }

func (s *System) RunningID() candidate.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return candidate.ID{}
	}
	return s.running.id
}

// Running is the path in Faults for [System.OpenRunning].
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
	return handle{s, s.running}, nil
}

// A handle is an open file.
type handle struct {
	sys   *System
	inode *inode
}

func (h handle) ReadAt(b []byte, off int64) (int, error) {
	h.sys.mu.Lock()
	defer h.sys.mu.Unlock()
	content := h.inode.content
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
