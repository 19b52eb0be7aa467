//go:build !autorestart_portable

package inspect

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/files"
)

// A system is the [candidate.System] of a process with the rights of this one, that sees the files below
// a root directory, and executes the image of its View. It has the candidate in the place of the
// executable, with owner, mode and capabilities of the file that is there.
type system struct {
	files.View
	root  string          // leads to the root directory
	path  string          // of the executable
	final string          // the same without symbolic links
	file  *os.File        // the candidate
	entry candidate.Entry // of it, in the place of the executable
	dev   uint64          // of that place
	busy  bool            // it is open for writing

	replaced candidate.File // that is at the path now; nil if there is none
}

// place sets what the candidate looks like in the place of the executable. An error says that the
// executable can't be reached, or read.
func (s *system) place() (err error) {
	if s.final, err = locate(s.root, s.path); err != nil {
		return err
	}
	id, err := s.View.StatFile(s.file)
	if err != nil {
		return err
	}
	s.replaced, err = s.View.Open(s.root + s.final)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err := s.View.Stat(s.root + path.Dir(s.final))
		s.entry.ID, s.dev = id, dir.Dev
		return err
	}
	if err != nil {
		return err
	}
	if s.entry, err = s.View.Entry(s.root + s.final); err != nil {
		return err
	}
	s.dev = s.entry.Dev
	id.UID, id.GID, id.Perm = s.entry.UID, s.entry.GID, s.entry.Perm
	s.entry.ID = id
	return nil
}

// Open opens the candidate by the path of the executable.
func (s *system) Open(name string) (candidate.File, error) {
	if name != s.path {
		return s.View.Open(s.at(name))
	}
	if err := s.place(); err != nil {
		return nil, err
	}
	return s.file, nil
}

func (s *system) Stat(name string) (candidate.ID, error) { return s.View.Stat(s.at(name)) }

func (s *system) StatFile(f candidate.File) (candidate.ID, error) {
	if f == s.file {
		return s.entry.ID, nil
	}
	return s.View.StatFile(f)
}

// at returns a path that leads this process to the file to which the path leads the other.
func (s *system) at(name string) string {
	final, err := locate(s.root, name)
	if err != nil {
		return ""
	}
	return s.root + final
}

// MayExecute asks for the file that is in the place of the candidate, which has the same mode.
func (s *system) MayExecute(_ string, id candidate.ID) error {
	if s.replaced == nil {
		return s.View.MayExecute(descriptorPath(int(s.file.Fd())), id)
	}
	return s.View.MayExecute(s.root+s.final, id)
}

func (s *system) OpenForWriting(candidate.File) bool { return s.busy }

func (s *system) HasCapabilities(f candidate.File) bool {
	if f == s.file && s.replaced != nil {
		f = s.replaced
	}
	return s.View.HasCapabilities(f)
}

// Entry is called for paths without symbolic links.
func (s *system) Entry(name string) (candidate.Entry, error) {
	if name == s.final {
		return s.entry, nil
	}
	return s.View.Entry(s.root + name)
}

func (s *system) Mount(name string, dev uint64) candidate.Mount {
	if name == s.final {
		dev = s.dev
		if s.replaced == nil {
			name = path.Dir(name)
		}
	}
	return s.View.Mount(s.root+name, dev)
}
