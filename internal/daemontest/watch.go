//go:build linux

package daemontest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// HasWatch reports whether the daemon has an inotify watch on dir.
func (d *Daemon) HasWatch(dir string) bool {
	return WatchMask(d.T, d.PID(), dir) != 0
}

// WatchCount returns the number of inotify watches that the daemon has.
func (d *Daemon) WatchCount() int {
	return len(watches(d.PID()))
}

// WatchMask returns the mask of a process's inotify watch on dir, 0 if it has none.
func WatchMask(t testing.TB, pid int, dir string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0
	}
	// The kernel's own form of a device number, not the one that stat(2) has.
	device := uint64(unix.Major(uint64(st.Dev)))<<20 | uint64(unix.Minor(uint64(st.Dev)))
	for _, w := range watches(pid) {
		if w.inode == st.Ino && w.device == device {
			return w.mask
		}
	}
	return 0
}

// watch is an inotify watch as /proc shows it.
type watch struct {
	inode, device, mask uint64
}

func watches(pid int) (list []watch) {
	infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, info := range infos {
		content, _ := os.ReadFile(info)
		for line := range bytes.Lines(content) {
			var wd uint64
			var w watch
			_, err := fmt.Sscanf(string(line), "inotify wd:%x ino:%x sdev:%x mask:%x", &wd, &w.inode, &w.device, &w.mask)
			if err == nil {
				list = append(list, w)
			}
		}
	}
	return list
}

// Settled waits until the daemon has finished looking for a version and waits for
// the next one, and returns its status.
func (d *Daemon) Settled() (state Status) {
	d.T.Helper()
	WaitFor(d.T, "watcher that waits", func() bool {
		state = d.State()
		images, instances, mounts, looking := 0, 0, 0, false
		for _, target := range state.Files {
			if strings.HasPrefix(target, d.Path) {
				images++
			}
			if target == "anon_inode:inotify" {
				instances++
			}
			switch {
			case strings.HasSuffix(target, "/mountinfo"):
				mounts++
			case strings.HasPrefix(target, "/proc/"):
				looking = true // at its user namespace, for example
			}
		}
		if !HaveEvents {
			return images == 0 && !looking
		}
		return !looking && images == 1 && instances == 1 && mounts == 1 && d.HasWatch(filepath.Dir(d.Path))
	})
	return state
}

// OpenFiles lists what a process has open, sorted. The numbers of the descriptors
// depend on which was opened first.
func (s Status) OpenFiles() (list []string) {
	for _, target := range s.Files {
		list = append(list, strings.TrimSuffix(target, " (deleted)"))
	}
	slices.Sort(list)
	return list
}
