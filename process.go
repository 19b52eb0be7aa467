package autorestart

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/report"
)

// process is this image of the process: how it was started and what it inherited.
type process struct {
	inherited *handover.State
	launch    launch
	started   time.Time
	ready     atomic.Int64 // when Ready was called first, in nanoseconds since 1970; 0 before
}

// launch is how an image was started.
type launch struct {
	path string   // absolute, symbolic links kept; "" if it can't be told
	args []string // all, the name of the program included
	id   fileID   // the file that the image was executed from; zero if it can't be told
}

// self is taken at package initialisation, before main can change the directory or
// os.Args. The public functions act on it.
var self = startProcess(&handover.Inherited)

func startProcess(inherited *handover.State) *process {
	path := launchPath(inherited)
	return &process{
		inherited: inherited,
		launch:    launch{path: path, args: slices.Clone(os.Args), id: launchID(path, inherited)},
		started:   time.Now(),
	}
}

func init() {
	handover.OnRollback(executePrevious)
	if handover.Ignored != "" {
		report.Warn("ignored what the environment says of a restart", "reason", handover.Ignored)
	}
	if self.restarted() && !handover.OnTrial() {
		passing.Process.StartTimer(dropUnclaimed)
	}
}

// restarted reports whether an image of this library came before this one.
func (p *process) restarted() bool { return p.inherited.Number(handover.PID) != 0 }

// dropUnclaimed drops what this image has inherited and not claimed.
func dropUnclaimed() {
	passing.Process.CloseUnclaimed()
	subscriptions.restoreDefaults()
}

// Generation returns how many images this process had before this one, each of which
// handed over to the next: 0 in a program that was started afresh.
func Generation() int { return self.inherited.Number(handover.Generation) }

// errNoPath is returned by a program without a file name, as one that was executed
// from a memfd.
var errNoPath = errors.New("autorestart: cannot tell the path of this program's executable; set Path")

// errNoDirectory is returned for a relative path in a working directory that was
// removed.
var errNoDirectory = errors.New("autorestart: cannot tell the working directory; set Path to an absolute one")

// executablePath returns path, made absolute, or the launch path if path is empty.
func (p *process) executablePath(path string) (string, error) {
	if path == "" {
		if p.launch.path == "" {
			return "", errNoPath
		}
		return p.launch.path, nil
	}
	if path = absolute(path); path == "" {
		return "", errNoDirectory
	}
	return path, nil
}

// absolute makes path absolute without cleaning it: in "link/../app" the dots belong
// to what the link leads to. It returns "" without a working directory.
func absolute(path string) string {
	if path == "" || os.IsPathSeparator(path[0]) || filepath.IsAbs(path) {
		return path
	}
	dir, err := syscall.Getwd()
	if err != nil {
		return ""
	}
	for len(path) > 1 && path[0] == '.' && os.IsPathSeparator(path[1]) {
		path = path[2:]
	}
	if os.IsPathSeparator(dir[len(dir)-1]) {
		return dir + path
	}
	return dir + string(os.PathSeparator) + path
}
