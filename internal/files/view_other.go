//go:build !linux || autorestart_portable

// Everything for systems that are not Linux, in terms of the standard library.

package files

import (
	"errors"
	"os"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A View is the [candidate.System] of this process.
type View struct {
	LaunchID candidate.ID  // of the file that this image was executed from
	Kind     elfimage.Kind // likewise; zero if it is not known
}

func (*View) MayExecute(path string, _ candidate.ID) error { return sys.MayExecute(path) }

// OpenForWriting can't tell.
func (*View) OpenForWriting(candidate.File) bool { return false }

// HasCapabilities: there are none.
func (*View) HasCapabilities(candidate.File) bool { return false }

func (*View) Credentials() candidate.Credentials {
	uid, euid, gid, egid, ok := sys.IDs()
	if !ok {
		return candidate.Credentials{}
	}
	return candidate.CredentialsOf(uid, euid, gid, egid)
}

// Namespace: every owner is known.
func (*View) Namespace() candidate.Namespace { return candidate.Namespace{} }

// Entry returns the owner and the mode, but neither mounts nor ACLs.
func (*View) Entry(path string) (candidate.Entry, error) {
	st, err := sys.Lstat(path)
	if err != nil {
		return candidate.Entry{}, err
	}
	e := candidate.Entry{ID: candidate.ID(st.FileStat), Directory: st.Directory}
	if st.Symlink {
		e.Target, err = os.Readlink(path)
	}
	return e, err
}

// Mount returns nothing.
func (*View) Mount(string, uint64) candidate.Mount { return candidate.Mount{} }

func (v *View) RunningEntry() (candidate.Entry, error) {
	return candidate.Entry{ID: v.LaunchID}, nil
}

func (v *View) RunningID() candidate.ID { return v.LaunchID }

// RunningChanged makes no difference: it is executed once, see [handover.CanRollBack].
func (*View) RunningChanged() bool { return false }

// OpenRunning fails: there is no handle on the image of a process here once its path
// leads elsewhere.
func (*View) OpenRunning() (candidate.File, error) { return nil, errors.ErrUnsupported }

// RunningIsBusy: not every system keeps writers away from a file that is executed.
func (*View) RunningIsBusy() bool { return false }

// RunningIsCoherent is not known.
func (*View) RunningIsCoherent() bool { return false }

// readUncached does nothing: no system but Linux is known to need it.
func readUncached(*os.File) {}

// HoldLease fails: nothing keeps writers away.
func (*View) HoldLease(candidate.File) bool { return false }

// EndLease does nothing: there is none.
func (*View) EndLease(candidate.File) {}

// LeaseIsBreaking: there is none.
func (*View) LeaseIsBreaking(candidate.File) bool { return false }

// KeepsReplaced: no other system is known to mount single files.
func (*View) KeepsReplaced(string) bool { return false }
