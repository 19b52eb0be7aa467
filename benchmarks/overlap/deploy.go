//go:build linux

package overlap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
)

// A run is one server under one kind of load.
type run struct {
	*load
	*servers.Process
	*processes
	endpoints []endpoint
	limit     time.Duration // of a deploy
}

// deploy deploys a version with the fault of the load, or with none, and waits until that is
// over. It returns the changes.
func (r *run) deploy() ([]change, error) {
	deployed := time.Now()
	if err := r.Deploy(r.fault); err != nil {
		return nil, err
	}
	err := error(nil)
	if r.newer {
		err = r.deployNewer()
	}
	if err != nil {
		return nil, err
	}
	if r.fault == "" {
		err = r.awaitReady()
	} else {
		err = r.await("failed version", r.limit, func() bool { return len(r.since(deployed)) > 0 })
	}
	if err == nil && !(r.quick && r.Strict) { // tableflip rejects an upgrade during the one before
		err = r.awaitAlone()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changesOf(r.Server, r.Version, deployed), err
}

// deployNewer deploys another version as soon as the stand-in of the last one serves.
func (r *run) deployNewer() error {
	err := r.await("stand-in", r.limit, func() bool {
		_, ok := r.reports.of(r.Version, true)
		return ok
	})
	if err != nil {
		return err
	}
	return r.Deploy("")
}

// awaitReady waits until the version that was deployed last is ready.
func (r *run) awaitReady() error {
	return r.await(fmt.Sprintf("version %d that is ready", r.Version), r.limit, func() bool {
		report, ok := r.reports.of(r.Version, false)
		if ok {
			r.Current = report.Identity
		}
		return ok
	})
}

// awaitAlone waits until one process is left.
func (r *run) awaitAlone() error {
	return r.await("end of the other process", r.limit, func() bool { return len(r.living) == 1 })
}

// openDescriptors returns the number of open descriptors of a server, as soon as it watches its
// executable.
func (r *run) openDescriptors() (n int, err error) {
	if r.Strict {
		err = r.await("inotify instance", r.limit, func() bool { return hasInotify(r.PID()) })
	}
	if err == nil {
		n, err = descriptorsOf(r.PID())
	}
	return n, err
}

func hasInotify(pid int) bool {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, name := range names {
		if target, _ := os.Readlink(name); target == "anon_inode:inotify" {
			return true
		}
	}
	return false
}

// checkRest returns an error unless the process is the same, with as many descriptors as before.
func (r *run) checkRest(descriptors int) error {
	if !r.Strict {
		return nil
	}
	err := r.await(fmt.Sprintf("%d descriptors", descriptors), r.limit, func() bool {
		n, err := descriptorsOf(r.PID())
		return err == nil && n == descriptors
	})
	return errors.Join(err, r.CheckPID())
}
