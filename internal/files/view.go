// Package files answers what package candidate asks of the system: how a process sees the
// files, and which image it executes.
package files

import (
	"errors"
	"os"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// Every system has these methods of [View] in common.

func (*View) Open(path string) (candidate.File, error) {
	f, err := sys.OpenRegular(path)
	switch {
	case errors.Is(err, sys.ErrNotRegular):
		return nil, candidate.ErrNotRegular
	case err != nil:
		return nil, err
	}
	readUncached(f)
	return f, nil
}

func (*View) Stat(path string) (candidate.ID, error) { return Stat(path) }

func (*View) StatFile(f candidate.File) (candidate.ID, error) {
	st, err := sys.StatFile(f.(*os.File))
	return candidate.ID(st), err
}

func (v *View) RunningKind() elfimage.Kind { return v.Kind }

// Stat returns the ID of the file that the path leads to.
func Stat(path string) (candidate.ID, error) {
	st, err := sys.Stat(path)
	return candidate.ID(st), err
}
