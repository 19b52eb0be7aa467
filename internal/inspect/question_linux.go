//go:build !autorestart_portable

package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/files"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A question is what the judge has to know of a process.
type question struct {
	path                string
	root, mounts, image *os.File // image is nil if there is none
	become              *credentials
	uids, gids          idMap // of its user namespace; nil if that is the one of this process
	otherUsers          bool  // it is in another user namespace
}

func (q *question) close() {
	for _, f := range []*os.File{q.root, q.mounts, q.image} {
		if f != nil {
			f.Close()
		}
	}
}

// ownQuestion is about a process with the rights of this one that runs the executable.
func ownQuestion(e executable) (*question, error) {
	q := &question{path: e.path}
	if err := q.open("/", sys.OwnMounts); err != nil {
		return nil, err
	}
	image, err := os.Open(e.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		q.close()
		return nil, err
	}
	q.image = image
	return q, nil
}

func (q *question) open(root, mounts string) (err error) {
	fd, err := sys.Open(root, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return &os.PathError{Op: "open", Path: root, Err: err}
	}
	q.root = fd.File(root)
	if q.mounts, err = os.Open(mounts); err != nil {
		q.close()
	}
	return err
}

// prepare looks at the process. The caller closes the question.
func (p *process) prepare() (kind, *question, error) {
	q := &question{path: p.path}
	if err := q.open(p.proc+"root", p.proc+"mountinfo"); err != nil {
		return kind{}, nil, err
	}
	k, err := p.describe(q)
	if err != nil {
		q.close()
		return kind{}, nil, err
	}
	return k, q, nil
}

// describe adds the image and the rights of the process to the question.
func (p *process) describe(q *question) (k kind, err error) {
	if q.image, err = os.Open(p.proc + "exe"); err != nil {
		return k, err
	}
	c, err := readCredentials(p.proc)
	if err != nil {
		return k, err
	}
	own, err := readCredentials("/proc/self/")
	if err != nil {
		return k, err
	}
	k = kind{
		credentials: fmt.Sprint(c), user: p.namespace("user"), mounts: p.namespace("mnt"), image: p.image, path: p.path,
	}
	if k.root, err = files.Stat(p.proc + "root"); err != nil {
		return k, err
	}
	q.otherUsers = k.user != ownNamespace("user")
	if !q.otherUsers && c.equal(&own) {
		return k, nil
	}
	const setIDs = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	if own.Effective&setIDs != setIDs {
		return k, fmt.Errorf("found a process with other rights (%s), expected those of this user (%s): run this command as root", c.text(), own.text())
	}
	if q.otherUsers {
		if q.uids, err = readIDMap(p.proc + "uid_map"); err != nil {
			return k, err
		}
		if q.gids, err = readIDMap(p.proc + "gid_map"); err != nil {
			return k, err
		}
		if c, err = c.in(q.uids, q.gids); err != nil {
			return k, err
		}
	}
	q.become = &c
	return k, nil
}

func (c *credentials) equal(other *credentials) bool {
	return c.UIDs == other.UIDs && c.GIDs == other.GIDs && slices.Equal(c.Groups, other.Groups) &&
		c.Permitted == other.Permitted && c.Effective == other.Effective
}

// text returns the effective rights, for messages.
func (c *credentials) text() string {
	return fmt.Sprintf("UID %d, GID %d, groups %v, capabilities %#x", c.UIDs[1], c.GIDs[1], c.Groups, c.Effective)
}

func readCredentials(proc string) (credentials, error) {
	content, err := os.ReadFile(proc + "status")
	if err != nil {
		return credentials{}, err
	}
	return parseStatus(string(content))
}

func readIDMap(path string) (idMap, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseIDMap(string(content))
}

// likeNamespace starts the judge in a user namespace with the IDs of that of the process: to join that
// one, a program must have one thread. Permissions depend on the IDs. The capabilities are those that
// the judge needs to become like the process, and those that it has to have then.
func (q *question) likeNamespace() *syscall.SysProcAttr {
	ambient := []uintptr{unix.CAP_SETUID, unix.CAP_SETGID}
	for c := range uintptr(64) {
		if q.become.Permitted&(1<<c) != 0 && !slices.Contains(ambient, c) {
			ambient = append(ambient, c)
		}
	}
	return &syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWUSER,
		UidMappings:                q.uids.mappings(),
		GidMappings:                q.gids.mappings(),
		GidMappingsEnableSetgroups: true,
		AmbientCaps:                ambient,
	}
}

func (m idMap) mappings() (all []syscall.SysProcIDMap) {
	for _, r := range m {
		all = append(all, syscall.SysProcIDMap{ContainerID: int(r.Inside), HostID: int(r.Outside), Size: int(r.Count)})
	}
	return all
}
