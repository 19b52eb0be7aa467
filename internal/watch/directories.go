package watch

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// A Notifier is a queue of events about directories, as inotify(7) has it, and answers what
// has to be known of directories to use it.
type Notifier interface {
	// ReadLink is the argument of that name of [candidate.PathSteps]. Any other error says that
	// it can't be told.
	ReadLink(name string) (target string, err error)

	// EntryAt returns what a step leads to, without following a symbolic link. There may be
	// nothing.
	EntryAt(candidate.Step) (EntryID, error)

	// AddWatch queues an event each time another entry is put under a name in the directory,
	// or an entry is removed; if ready, also when a file in it is closed by its writer, or its
	// attributes are set; and when the directory itself is moved or removed. A directory that
	// is watched already keeps its watch, for which more events are queued from now. Without
	// such a directory, the watch is NoDirectory.
	AddWatch(dir string, ready bool) (watch int, err error)

	// RemoveWatch removes a watch, if there is one.
	RemoveWatch(watch int)

	// FileSystem returns the type of the directory's file system, as in statfs(2).
	FileSystem(dir string) (magic uint32, err error)

	// WatchMounts has a change of any mount end a wait. It is called before each use of the
	// watches.
	WatchMounts() error
}

// NoDirectory stands for a watch where there is no directory.
const NoDirectory = -1

// An EntryID tells one entry of a directory from another. It is zero if there is none.
type EntryID struct {
	Dev, Ino uint64
	Mounted  bool // over another entry
}

func (e EntryID) isSame(other EntryID) bool { return e.Dev == other.Dev && e.Ino == other.Ino }

// An Event is one of the queue of a [Notifier].
type Event struct {
	Watch int
	Name  []byte // of the entry; nil for the directory itself
	Lost  bool   // the queue was full, and there were others
	Self  bool   // the directory was moved, removed or unmounted, or the watch has ended
	Ended bool   // the watch has ended
}

// Directories are those that resolving a path passes through, and the watches on them.
type Directories struct {
	Steps []WatchedStep

	found  []EntryID // what the steps lead to
	silent error     // a silentError if a directory can change without an event
}

// A WatchedStep is a step of the path, and the watch on its directory.
type WatchedStep struct {
	candidate.Step
	Watch int
}

// A silentError says why there is not an event for every change.
type silentError struct{ path, where string }

func (e silentError) Error() string {
	return "inotify " + e.path + ": not every change is reported " + e.where
}

// Inherit takes over the watches of a [Notifier] that another image has used. A directory that
// is still on the path gets the same watch again; Arm removes the others.
func (d *Directories) Inherit(watches []int) {
	for _, watch := range watches {
		d.Steps = append(d.Steps, WatchedStep{Watch: watch})
	}
}

// Watches returns those in use.
func (d *Directories) Watches() (watches []int) {
	for _, step := range d.Steps {
		if !slices.Contains(watches, step.Watch) {
			watches = append(watches, step.Watch)
		}
	}
	return watches
}

// Arm watches every directory that resolving the path passes through, and nothing
// else. It reports whether any watch is new, so that something may have happened
// before it, or the path leads to another file. An error says that some directory can't
// be watched, or mounts can't.
func (d *Directories) Arm(n Notifier, name string) (changed bool, err error) {
	mountErr := n.WatchMounts()
	// The path may lead elsewhere by the time the last watch is in place. The watches are
	// complete when a second walk finds nothing new.
	for range 100 {
		now, err := walk(n, name)
		if !slices.Equal(now.found, d.found) {
			changed = true
		}
		same := err == nil && slices.Equal(now.Steps, d.Steps) && now.silent == d.silent
		if !same {
			changed = true
			d.removeAllBut(n, now.Steps)
		}
		*d = now
		if err != nil {
			return true, err
		}
		if same {
			return changed, cmp.Or(d.Silent(), mountErr)
		}
	}
	return true, errUnsteady
}

var errUnsteady = errors.New("autorestart: the directories of the path keep changing")

// Silent returns the reason why events don't tell of every change, although all is watched.
func (d *Directories) Silent() error {
	if last := len(d.Steps) - 1; d.silent == nil && last >= 0 && d.found[last].Mounted {
		// Events of the file are sent to the directory that it was mounted from.
		step := d.Steps[last]
		return silentError{path.Join(step.Dir, step.Name), "for a file that is mounted by itself"}
	}
	return d.silent
}

// walk adds the watches, and returns what it finds. After an error there may be more. An entry is
// looked up before its directory is watched: if a mount comes in between, Remounted finds a
// difference.
func walk(n Notifier, name string) (d Directories, err error) {
	steps := candidate.PathSteps(name, func(name string) (target string, failed error) {
		target, failed = n.ReadLink(name)
		if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = failed
		}
		return target, failed
	})
	for i, step := range steps {
		entry, failed := n.EntryAt(step)
		if failed != nil {
			err = failed
		}
		d.found = append(d.found, entry)
		watch, failed := n.AddWatch(step.Dir, i == len(steps)-1)
		if failed != nil {
			return d, failed
		}
		if watch == NoDirectory {
			break // it is gone since the look-up: the watch on its parent tells when it is back
		}
		d.Steps = append(d.Steps, WatchedStep{step, watch})
		magic, failed := n.FileSystem(step.Dir)
		if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = failed
		}
		if name := SilentFileSystem(magic); name != "" && d.silent == nil {
			d.silent = silentError{step.Dir, "on " + name}
		}
	}
	return d, err
}

// removeAllBut removes the watches that the given steps no longer need.
func (d *Directories) removeAllBut(n Notifier, steps []WatchedStep) {
	for _, old := range d.Steps {
		if !slices.ContainsFunc(steps, func(s WatchedStep) bool { return s.Watch == old.Watch }) {
			n.RemoveWatch(old.Watch)
		}
	}
}

// Concerns reports whether the event is a reason to look again. The events that were
// read after it are then not needed: one reason is enough.
func (d *Directories) Concerns(n Notifier, event *Event) bool {
	if event.Lost {
		return true // anything may have happened
	}
	known := false
	for i := range d.Steps {
		if d.Steps[i].Watch != event.Watch {
			continue
		}
		if event.Self || d.Steps[i].Name == string(event.Name) {
			return true
		}
		known = true
	}
	if !known && !event.Ended {
		// A watch of the previous image, on a directory that has left the path.
		n.RemoveWatch(event.Watch)
	}
	return false
}

// Remounted reports whether mounts have changed what is on the path, where the last look saw a file.
// Where there are containers, other mounts come and go by the hundreds.
func (d *Directories) Remounted(n Notifier, seen EntryID) bool {
	for i, step := range d.Steps {
		now, err := n.EntryAt(step.Step)
		// A file may have been mounted and unmounted since Arm, with a look in between.
		if err != nil || now != d.found[i] || i == len(d.Steps)-1 && !now.isSame(seen) {
			return true
		}
	}
	return false
}
