//go:build !autorestart_portable

package inspect

import (
	"encoding/json"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/files"
)

// A request is what the judge reads from its standard input. The files are descriptors of it.
type request struct {
	Path   string // of the executable, as the process sees it
	Busy   bool   // the candidate is open for writing
	Become *credentials
}

// Descriptors of the judge.
const (
	fileFD   = 3 + iota // the candidate
	rootFD              // the root directory of the process
	mountsFD            // its mountinfo
	imageFD             // the image that it executes; none if there is neither a process nor a file
)

// A reply is what the judge writes to its standard output.
type reply struct {
	Verdict
	Failed string // why there is no verdict; "" if there is one
}

// Judge is the main of the judge: it gives up its rights for those of the process, and judges the
// candidate as the process would.
func Judge() error {
	var q request
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		return err
	}
	runtime.LockOSThread() // which has the capabilities
	var r reply
	if err := q.become(); err != nil {
		r.Failed = err.Error()
	} else {
		r.Verdict = q.judge()
		if r.Rejection != nil {
			r.Rejection.Err = nil // its text is in Found
		}
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// become sets the credentials of this thread, and the IDs of all threads.
func (q *request) become() error {
	c := q.Become
	if c == nil {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setresgid(int(c.GIDs[0]), int(c.GIDs[1]), int(c.GIDs[2])); err != nil {
		return os.NewSyscallError("setresgid", err)
	}
	if err := syscall.Setresuid(int(c.UIDs[0]), int(c.UIDs[1]), int(c.UIDs[2])); err != nil {
		return os.NewSyscallError("setresuid", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(c.Effective), Permitted: uint32(c.Permitted)},
		{Effective: uint32(c.Effective >> 32), Permitted: uint32(c.Permitted >> 32)},
	}
	return os.NewSyscallError("capset", unix.Capset(&header, &data[0]))
}

func (q *request) judge() Verdict {
	s := &system{
		View: files.View{Mounts: descriptorPath(mountsFD)},
		root: descriptorPath(rootFD),
		path: q.Path,
		file: os.NewFile(fileFD, q.Path),
		busy: q.Busy,
	}
	image := os.NewFile(imageFD, "the running image")
	if id, err := s.View.StatFile(image); err == nil {
		s.Image, s.LaunchID = descriptorPath(imageFD), id
		s.Kind, _ = elfimage.ReadKind(image, id.Size)
	}
	rules := candidate.NewRules(s, "")
	c, rejection := candidate.Open(s, q.Path)
	if rejection != nil {
		return Verdict{Rejection: rejection}
	}
	same, err := rules.Running.SameContent(c)
	if err != nil {
		return Verdict{Rejection: candidate.Unreadable(q.Path, err)}
	}
	if same {
		return Verdict{Same: true}
	}
	return Verdict{Rejection: rules.Judge(c)}
}
