package watch

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// A Notifier is a queue of events about directories, as inotify(7) has it, and answers what
// has to be known of directories to use it.
type Notifier interface {
	// ReadLink is the argument of that name of [candidate.PathSteps].
	ReadLink(name string) (target string, err error)

	// EntryAt returns what a step leads to, without following a symbolic link.
	EntryAt(candidate.Step) EntryID

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
type EntryID struct{ Dev, Ino uint64 }

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
	Steps  []WatchedStep
	Silent error // why events don't tell of every change, although all is watched

	found []EntryID // what the steps lead to
}

// A WatchedStep is a step of the path, and the watch on its directory.
type WatchedStep struct {
	candidate.Step
	Watch int
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
func (d *Directories) Arm(n Notifier, path string) (changed bool, err error) {
	mountErr := n.WatchMounts()
	// The path may lead elsewhere by the time the last watch is in place. The watches are
	// complete when a second walk finds nothing new.
	for range 100 {
		steps, found, err := watchSteps(n, candidate.PathSteps(path, n.ReadLink))
		if !slices.Equal(found, d.found) {
			changed, d.found = true, found
		}
		if err == nil && slices.Equal(steps, d.Steps) {
			if d.Silent != nil {
				return changed, d.Silent
			}
			return changed, mountErr
		}
		changed = true
		d.removeAllBut(n, steps)
		d.Steps, d.Silent = steps, silentStep(n, steps)
		if err != nil {
			return true, err
		}
	}
	return true, errUnsteady
}

var errUnsteady = errors.New("autorestart: the directories of the path keep changing")

// silentStep returns an error if the directory of a step can change without an event.
func silentStep(n Notifier, steps []WatchedStep) error {
	for _, step := range steps {
		magic, err := n.FileSystem(step.Dir)
		if err != nil {
			continue // it is gone meanwhile: the next Arm finds out
		}
		if name := SilentFileSystem(magic); name != "" {
			return &fs.PathError{Op: "inotify", Path: step.Dir, Err: errors.New("not every change is reported on " + name)}
		}
	}
	return nil
}

// watchSteps adds the watches, and returns the steps that have one, and what they lead
// to. A directory is looked up before it is watched: if a mount comes in between, Remounted
// finds a difference.
func watchSteps(n Notifier, steps []candidate.Step) (watched []WatchedStep, found []EntryID, _ error) {
	for i, step := range steps {
		found = append(found, n.EntryAt(step))
		watch, err := n.AddWatch(step.Dir, i == len(steps)-1)
		if err != nil || watch == NoDirectory {
			// It is gone since the walk: the watch on its parent tells when it is back.
			return watched, found, err
		}
		watched = append(watched, WatchedStep{step, watch})
	}
	return watched, found, nil
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

// Remounted reports whether mounts have changed what is on the path. Where there are
// containers, other mounts come and go by the hundreds.
func (d *Directories) Remounted(n Notifier) bool {
	for i, step := range d.Steps {
		if n.EntryAt(step.Step) != d.found[i] {
			return true
		}
	}
	return false
}
