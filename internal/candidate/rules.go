package candidate

import (
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart/internal/elfimage"
)

// Rules are what a candidate is judged by. Make them with [NewRules].
type Rules struct {
	// TrustAnyOwner accepts a file whoever can write it, or change a directory or a link of
	// its path.
	TrustAnyOwner bool

	// Failed is the version that was rolled back, if there is one.
	Failed Failed

	System  System
	Running Version // the running image; owned

	kind elfimage.Kind // of the running image
}

// Failed describes a version that was executed and rolled back. It is not executed
// again until its file is written, replaced or touched.
type Failed struct {
	Mark   string // begins with that of its file, see [ID.Mark]; "" if no version has failed
	Reason string
}

// NewRules returns rules that compare with the running image. The launch path is the
// one that this process was started by. The caller closes the rules.
func NewRules(sys System, launchPath string) *Rules {
	r := &Rules{System: sys, kind: sys.RunningKind()}
	r.openRunning(launchPath)
	return r
}

// Close closes the running image.
func (r *Rules) Close() { r.Running.close() }

// Judge decides whether c can be executed in place of the running image. The checks
// of permissions and writers come last: their outcome changes without the content
// changing.
func (r *Rules) Judge(c *Candidate) *Rejection {
	return r.judge(c).at(c.Path)
}

// maxSize is far beyond any program. A file of zeros can have any size.
const maxSize = 4 << 30 // bytes

func (r *Rules) judge(c *Candidate) *Rejection {
	if c.ID.Size > maxSize {
		return rejected("a file of "+strconv.FormatInt(c.ID.Size, 10)+" bytes", "an executable of at most 4 GiB")
	}
	if rejection := r.checkFailed(c.ID); rejection != nil {
		return rejection
	}
	kind, err := elfimage.ReadKind(c.File, c.ID.Size)
	if err != nil {
		return checkComplete(c.ID.Size, err)
	}
	c.Kind = kind
	if rejection := checkKind(kind, r.kind); rejection != nil {
		return rejection
	}
	if kind.ELF != nil && kind.ELF.Loader != "" {
		if rejection := r.checkLoader(kind.ELF.Loader); rejection != nil {
			return rejection
		}
	}
	if rejection := r.checkTrust(c); rejection != nil {
		return rejection
	}
	if err := r.System.MayExecute(c.Path, c.ID); err != nil {
		return notYet("a file that may not be executed ("+err.Error()+")",
			"execute permission for this user (chmod +x), on a file system without noexec", err)
	}
	if r.lacksCapabilities(c) {
		return notYet("a file without capabilities, or on a file system mounted with nosuid",
			"capabilities that count, as the running image has them: setcap the file, or move it", nil)
	}
	if r.System.OpenForWriting(c.File) {
		return notYet("a file open for writing", "a file that its writer has closed", nil)
	}
	return nil
}

// Unchanged returns nil if the path of c still leads to the file that was opened, in
// the same state: the same inode, size, owner, mode, mtime and ctime. It is the last
// look before the exec.
func (r *Rules) Unchanged(c *Candidate) *Rejection {
	now, err := r.System.Stat(c.Path)
	if err == nil && now == c.ID {
		return nil
	}
	return notYet("a file that was changed while it was looked at", "a file that stays the same", err).at(c.Path)
}

// Intact returns nil if the file of c was neither written nor touched since it was opened,
// wherever its path leads by now.
func (r *Rules) Intact(c *Candidate) *Rejection {
	now, err := r.System.StatFile(c.File)
	if err == nil && now.SameMark(&c.ID) {
		return nil
	}
	return notYet("a file that was changed while it was looked at", "a file that stays the same", err).at(c.Path)
}

// checkFailed rejects the version that was rolled back.
func (r *Rules) checkFailed(id ID) *Rejection {
	if r.Failed.Mark == "" || !strings.HasPrefix(r.Failed.Mark, id.Mark()) {
		return nil
	}
	return rejected("a version that failed before ("+r.Failed.Reason+")",
		"another version; to retry this one, write it again")
}

// checkComplete returns the rejection for an error of [elfimage.ReadKind].
func checkComplete(size int64, err error) *Rejection {
	found := err.Error()
	switch err := err.(type) {
	case elfimage.FormatError:
		return rejected(found, "an executable")
	case *elfimage.IncompleteError:
		switch {
		case size == 0:
			return notYet("an empty file", "an executable", nil)
		case err.Extent > size:
			return notYet(found, strconv.FormatInt(err.Extent, 10)+" bytes, as its headers say", nil)
		default:
			return notYet(found, "all that its headers refer to", nil)
		}
	default:
		return Unreadable("", err)
	}
}

// checkKind returns nil if a system that runs like runs found, as far as like is
// known.
func checkKind(found, like elfimage.Kind) *Rejection {
	if like.IsZero() || found.SameAs(like) {
		return nil
	}
	return rejected(found.String(), like.String()+", as the running image is")
}

// checkLoader rejects for now if the dynamic loader is missing: it may come with the
// same package.
func (r *Rules) checkLoader(path string) *Rejection {
	_, err := r.System.Stat(path)
	if err == nil {
		return nil
	}
	return notYet("a program that needs the dynamic loader "+path+" ("+Cause(err).Error()+")",
		"a loader that is installed, or a statically linked program", err)
}

// lacksCapabilities reports whether c has no file capabilities while the running
// image was given some. They go with the inode: a deployment has to set them again.
func (r *Rules) lacksCapabilities(c *Candidate) bool {
	running := r.Running.file
	return running != nil && r.System.HasCapabilities(running) && !r.System.HasCapabilities(c.File)
}
