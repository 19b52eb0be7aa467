package candidate

import (
	"bytes"
	"hash/maphash"
	"io"

	"github.com/autorestart-go/autorestart/internal/elfimage"
)

// A Version is the content that a candidate is compared with. Events and time stamps
// only say that there may be something new; whether there is, the bytes decide, up to
// maxCompared of them.
type Version struct {
	ID ID

	file  File           // the content, as long as it isIntact; owned
	sum   contentSum     // of the content, where file is nil or can be written
	build elfimage.Build // empty until it is asked for, where there is a file

	// busy: it is the file that this process executes, and nothing can write it while
	// this process does.
	busy   bool
	system System // for isIntact; nil where there is no file
}

// openRunning makes Running the version of this process's own image.
func (r *Rules) openRunning(launchPath string) {
	r.Running.busy, r.Running.system = r.System.RunningIsBusy(), r.System
	r.ReopenRunning()
	if r.Running.file != nil {
		return
	}
	// Only the file that was at the launch path when the process started tells the
	// content, for as long as that is there.
	if f, err := r.System.Open(launchPath); err == nil {
		// Since the exec, its mode may have been set, or it may have been renamed.
		id, err := r.System.StatFile(f)
		if err == nil && (r.Running.ID == (ID{}) || id.SameMark(&r.Running.ID)) {
			r.Running.ID = id
		}
		r.Running.remember(r.System, f)
		f.Close()
	}
}

// ReopenRunning opens the running image if that has not succeeded yet: at the first
// attempt the table of descriptors may have been full.
func (r *Rules) ReopenRunning() {
	if r.Running.file != nil {
		return
	}
	if id := r.System.RunningID(); id != (ID{}) {
		r.Running.ID = id
	}
	if f, err := r.System.OpenRunning(); err == nil {
		r.Running.file = f
	}
}

// SumRunning sums the content of the running image, where its file can be written later: a file
// that was only touched is then told from one that was written.
func (r *Rules) SumRunning() {
	v := &r.Running
	if v.file != nil && !v.busy && !v.sum.known && r.System.RunningIsCoherent() {
		v.sum = sumUnchanged(r.System, v.file, v.ID)
	}
}

// RunningChanged reports whether the file of the running image has, or may have, another content
// by now: it can't be executed again.
func (r *Rules) RunningChanged() bool {
	v := &r.Running
	switch {
	case !r.System.RunningChanged():
		return false
	case v.file == nil || !v.sum.known:
		return true
	}
	now, err := r.System.StatFile(v.file)
	if err != nil || now.Size != v.ID.Size {
		return true
	}
	sum, err := v.sum.of(v.file, v.ID.Size)
	return err != nil || sum != v.sum.value
}

// AsCandidate returns the running image as a candidate at a path, or nil if it could
// not be opened. The candidate does not own its file.
func (v *Version) AsCandidate(path string) *Candidate {
	if v.file == nil {
		return nil
	}
	return &Candidate{Path: path, File: v.file, ID: v.ID}
}

// Remember returns the version of c for the time when c is closed.
func (r *Rules) Remember(c *Candidate) *Version {
	v := &Version{ID: c.ID}
	v.remember(r.System, c.File)
	return v
}

// remember takes from f, which has to be in the state v.ID, what will be needed when f
// is closed.
func (v *Version) remember(sys System, f File) {
	v.build = elfimage.ReadBuild(f, v.ID.Size)
	v.sum = sumUnchanged(sys, f, v.ID)
}

// Build returns how the version was built.
func (v *Version) Build() elfimage.Build {
	if v.build.ID == "" && v.isIntact() {
		v.build = elfimage.ReadBuild(v.file, v.ID.Size)
	}
	return v.build
}

func (v *Version) close() {
	if v.file != nil {
		v.file.Close()
		v.file = nil
	}
}

// isIntact reports whether file has the content of v. The file of the running image can have
// another one by now, where it is written on another machine, or where a file system knows
// files only by their paths.
func (v *Version) isIntact() bool {
	if v.file == nil || v.busy {
		return v.file != nil
	}
	now, err := v.system.StatFile(v.file)
	return err == nil && now.SameMark(&v.ID)
}

// SameContent reports whether c holds the same bytes as v. Where the bytes of v are not to be
// had any more, the Mark says.
func (v *Version) SameContent(c *Candidate) (bool, error) {
	id := c.ID
	switch {
	case id == v.ID:
		return true, nil
	case id.Size != v.ID.Size, id.Size > maxCompared:
		return false, nil
	case v.busy && id.Dev == v.ID.Dev && id.Ino == v.ID.Ino && id.Ino != 0:
		return !v.isBuiltOtherwise(c), nil
	case v.isIntact() && !id.SameMark(&v.ID):
		return equalContent(c.File, v.file, id.Size)
	case v.sum.known:
		sum, err := v.sum.of(c.File, id.Size)
		return err == nil && sum == v.sum.value, err
	default:
		return id.SameMark(&v.ID) && !v.isBuiltOtherwise(c), nil
	}
}

// isBuiltOtherwise reports whether c is known to be another build than v. Linux 6.11 lets a
// file be written while it is executed.
func (v *Version) isBuiltOtherwise(c *Candidate) bool {
	return v.build.ID != "" && elfimage.ReadBuild(c.File, c.ID.Size).ID != v.build.ID
}

const (
	// maxCompared is the size from which on the ID alone tells one version from another.
	// To read so much takes a second from memory and some more from a disk. A file may
	// claim any size, and have zeros where nothing was written.
	maxCompared = 1 << 30 // bytes

	firstPiece = 4096 // bytes
	nextPieces = 64 << 10
)

// equalContent compares the first size bytes. The first piece is small: two builds of
// one program differ in their build ID, a few hundred bytes in.
func equalContent(a, b io.ReaderAt, size int64) (bool, error) {
	buf := make([]byte, 2*firstPiece)
	for off := int64(0); off < size; {
		half := len(buf) / 2
		n := int(min(int64(half), size-off))
		x, y := buf[:n], buf[half:half+n]
		if err := elfimage.ReadFull(a, x, off); err != nil {
			return false, err
		}
		if err := elfimage.ReadFull(b, y, off); err != nil {
			return false, err
		}
		if !bytes.Equal(x, y) {
			return false, nil
		}
		off += int64(n)
		if len(buf) < 2*nextPieces {
			buf = make([]byte, 2*nextPieces)
		}
	}
	return true, nil
}

// A contentSum is a hash of a file's content. Two of them can be compared only if they
// have the same seed.
type contentSum struct {
	known bool
	seed  maphash.Seed
	value uint64
}

// of returns the value for another file.
func (s contentSum) of(r io.ReaderAt, size int64) (value uint64, err error) {
	buf := make([]byte, nextPieces)
	for off := int64(0); off < size; {
		piece := buf[:min(int64(len(buf)), size-off)]
		if err := elfimage.ReadFull(r, piece, off); err != nil {
			return 0, err
		}
		value = 31*value + maphash.Bytes(s.seed, piece)
		off += int64(len(piece))
	}
	return value, nil
}

// sumUnchanged returns the sum of f. It is not known if f is not, or by the end no
// longer, in the state id, or has more than maxCompared bytes.
func sumUnchanged(sys System, f File, id ID) contentSum {
	if id.Size > maxCompared {
		return contentSum{}
	}
	s := contentSum{seed: maphash.MakeSeed()}
	value, err := s.of(f, id.Size)
	if err != nil {
		return contentSum{}
	}
	now, err := sys.StatFile(f)
	if err != nil || now != id {
		return contentSum{}
	}
	s.known, s.value = true, value
	return s
}
