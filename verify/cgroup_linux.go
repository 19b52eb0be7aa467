//go:build !autorestart_portable

// A cgroup for a program and what it starts.
//
//	call                          since  without it
//	user.delegate, an attribute   5.7    trusted.delegate, which needs CAP_SYS_ADMIN
//	CLONE_INTO_CGROUP, clone3(2)  5.7    a PID namespace, or the process group alone
//	cgroup.kill, cgroups(7)       5.14   the same

package verify

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// startInCgroup starts the command in a new cgroup below the one of this process, if that
// has been delegated.
func startInCgroup(ctx context.Context, cmd *exec.Cmd) (scope, error) {
	parent, err := delegatedCgroup()
	if err != nil {
		return scope{}, err
	}
	return startInCgroupBelow(ctx, parent, cmd)
}

func startInCgroupBelow(ctx context.Context, parent string, cmd *exec.Cmd) (s scope, err error) {
	name, err := os.MkdirTemp(parent, "autorestart-verify-")
	if err != nil {
		return scope{}, err
	}
	c := &cgroup{name: name}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	dir, err := os.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return scope{}, err
	}
	defer dir.Close()
	if c.killer, err = os.OpenFile(filepath.Join(name, "cgroup.kill"), os.O_WRONLY, 0); err != nil {
		return scope{}, err
	}
	if c.events, err = os.Open(filepath.Join(name, "cgroup.events")); err != nil {
		return scope{}, err
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	group, err := startInGroup(ctx, cmd)
	if err != nil {
		return scope{}, err
	}
	return scope{
		kill:  func() { group.kill(); c.kill() },
		close: c.close,
	}, nil
}

type cgroup struct {
	name   string
	killer *os.File // cgroup.kill
	events *os.File // cgroup.events; POLLPRI when the cgroup becomes empty
}

// endTimeout is how long killed processes may take to end. It is a variable for tests that check
// that all have ended.
var endTimeout = time.Second

func (c *cgroup) kill() { c.killer.WriteString("1") }

// close removes the cgroup. What was killed in it takes a moment to end; what does not end
// within endTimeout, as it waits for a device, keeps the cgroup.
func (c *cgroup) close() {
	if c.killer != nil {
		defer c.killer.Close()
	}
	if c.events != nil {
		defer c.events.Close()
	}
	for deadline := time.Now().Add(endTimeout); ; {
		if c.events != nil { // a read, or poll returns at once
			c.events.ReadAt(make([]byte, 64), 0)
		}
		err := removeCgroup(c.name)
		left := time.Until(deadline)
		if err == nil || c.events == nil || left <= 0 {
			return
		}
		poll := []unix.PollFd{{Fd: int32(c.events.Fd()), Events: unix.POLLPRI}}
		unix.Poll(poll, int(left/time.Millisecond)+1)
	}
}

// removeCgroup removes a cgroup and those that a program has made in it.
func removeCgroup(name string) error {
	var dirs []string
	filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	var err error
	for _, dir := range slices.Backward(dirs) {
		err = os.Remove(dir) // the last one is the cgroup itself
	}
	return err
}

var errNotDelegated = errors.New("verify: the cgroup of this process is not delegated")

// delegatedCgroup returns the directory of the cgroup of this process, if this process may
// make other cgroups in it. A cgroup that is not delegated has another process that manages
// it, even where the permissions would allow a new one.
func delegatedCgroup() (string, error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	dir, isRoot := cgroupDir(string(self), string(mounts))
	if dir == "" || !isDelegated(dir, isRoot) {
		return "", errNotDelegated
	}
	return dir, nil
}

// isDelegated reports whether a cgroup is delegated to this process. It belongs to the user
// of this process: another user could move processes out of it. And systemd has marked it,
// or the one above it belongs to another user. If that belongs to the same user, a process
// of that user has made the cgroup, as the user's systemd, and manages it. Everything
// belongs to root, so that says nothing about root.
func isDelegated(dir string, isRoot bool) bool {
	var fsStat unix.Statfs_t
	err := sys.RetryEINTR(func() error { return unix.Statfs(dir, &fsStat) })
	if err != nil || fsStat.Type != unix.CGROUP2_SUPER_MAGIC {
		return false
	}
	own, err := sys.Stat(dir)
	if err != nil || int(own.UID) != os.Geteuid() {
		return false
	}
	for _, attr := range []string{"user.delegate", "trusted.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Getxattr(dir, attr, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	if own.UID == 0 || isRoot {
		return own.UID != 0
	}
	above, err := sys.Stat(filepath.Dir(dir))
	return err == nil && above.UID != own.UID
}

// cgroupDir returns the directory of a process's cgroup of version 2, or "" if it is
// mounted nowhere. The texts are those of /proc/self/cgroup and /proc/self/mountinfo.
// isRoot says that the cgroup above has no directory.
func cgroupDir(self, mounts string) (dir string, isRoot bool) {
	path := ""
	for line := range strings.Lines(self) {
		if own, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			path = own
		}
	}
	if path == "" || path != filepath.Clean(path) || strings.HasPrefix(path, "/..") {
		return "", false // outside of the cgroup namespace
	}
	for line := range strings.Lines(mounts) {
		// 41 31 0:38 ROOT MOUNTPOINT OPTIONS [TAGS] - cgroup2 SOURCE OPTIONS
		fields, kind, _ := strings.Cut(line, " - ")
		mount := strings.Fields(fields)
		if len(mount) < 6 || !strings.HasPrefix(kind, "cgroup2 ") || strings.Contains(mount[4], `\`) {
			continue // a name with a space in it is not a usual one
		}
		if below, err := filepath.Rel(mount[3], path); err == nil && filepath.IsLocal(below) {
			dir, isRoot = filepath.Join(mount[4], below), below == "."
		}
	}
	return dir, isRoot
}
