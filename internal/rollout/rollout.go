// Package rollout waits until the processes that run an executable have taken a new version of it.
package rollout

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A Process runs the executable.
type Process struct {
	PID    int
	State  State
	Text   string // what has become of the deploy, or what the process is doing
	Status statuspage.Status

	reader   *statuspage.Reader // nil without a page
	before   statuspage.Status
	observed observation
	same     candidate.ID // of the image with the content of the new file, which it ran; zero if it ran another one
	executed time.Time    // when it was first seen to have executed the new file
	missing  int          // looks in a row that have not found the page in the process
}

// A Target is an executable that is about to be replaced.
type Target interface {
	Target() string
	New() string // a path of the new file
	Old() candidate.ID
	Mark() string // of the new file
	Current() bool
}

// A Rollout is the way of a new file into the processes.
type Rollout struct {
	target   Target
	follower *statuspage.Follower
	all      map[int]*Process
	newID    candidate.ID
	sameAs   map[candidate.ID]bool // whether the new file has the content of that one
}

// Begin finds the processes that run the executable, and follows them from now on. It is called before the new file is
// put in place. The caller closes the rollout.
func Begin(target Target) (*Rollout, error) {
	newFile, err := sys.OpenRegular(target.New()) // the owner of the directory may have put a FIFO there
	if err != nil {
		return nil, err
	}
	defer newFile.Close()
	st, err := sys.StatFile(newFile)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: target.New(), Err: err}
	}
	r := &Rollout{
		target: target, follower: statuspage.NewFollower(), all: map[int]*Process{}, newID: candidate.ID(st), sameAs: map[candidate.ID]bool{},
	}
	if err := r.collect(newFile); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Runs reports whether one of the processes runs an image with the content of a file.
func (r *Rollout) Runs(file *os.File) bool {
	st, err := sys.StatFile(file)
	compared := map[candidate.ID]bool{}
	for pid := range r.all {
		exe, openErr := os.Open(exePath(pid))
		if openErr != nil {
			continue
		}
		exeStat, statErr := sys.StatFile(exe)
		id := candidate.ID(exeStat)
		same := err == nil && statErr == nil && !compared[id] && id.Size == st.Size && sameContent(exe, file, st.Size)
		compared[id] = true
		exe.Close()
		if same {
			return true
		}
	}
	return false
}

// Placed finds the processes that have started since Begin. It is called when the new file is in place.
func (r *Rollout) Placed() error { return r.collect(nil) }

// Close ends the following.
func (r *Rollout) Close() {
	r.follower.Close()
	for _, p := range r.all {
		if p.reader != nil {
			p.reader.Close()
		}
	}
}

// Processes returns the processes, by their PIDs.
func (r *Rollout) Processes() (all []*Process) {
	for _, p := range r.all {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Process) int { return a.PID - b.PID })
	return all
}

// collect adds the processes that run the executable. With newFile, it compares what they run with that.
func (r *Rollout) collect(newFile *os.File) error {
	var without []*Process // a status page
	self := os.Getpid()
	err := statuspage.Scan(func(pid int, page *statuspage.Reader, err error) (keep bool) {
		if r.all[pid] != nil || pid == self {
			return false
		}
		p := &Process{PID: pid, State: Waiting}
		if err == nil {
			if p.Status, err = page.Status(); err == nil && p.Status.Path != "" {
				if !r.is(statIn(pid, p.Status.Path)) {
					return false
				}
				p.reader, p.before = page, p.Status
				r.add(p, newFile)
				return true
			}
		}
		id, exeErr := executable(pid)
		switch {
		case exeErr == nil && r.is(id, nil):
			without = append(without, p)
		case errors.Is(exeErr, fs.ErrPermission) && mayRun(pid, r.target.Target()):
			p.observed.forbidden = true
			without = append(without, p)
		}
		return false
	})
	if err != nil {
		return err
	}
	for _, p := range without {
		parent := parentOf(p.PID)
		isChild := r.all[parent] != nil || slices.ContainsFunc(without, func(q *Process) bool { return q.PID == parent })
		if !isChild { // a child ends, or is replaced, with its parent
			r.add(p, newFile)
		}
	}
	return nil
}

// is reports whether a file is the executable, before or after the deploy.
func (r *Rollout) is(id candidate.ID, err error) bool {
	old := r.target.Old()
	return err == nil && (id.Dev == old.Dev && id.Ino == old.Ino || id.Dev == r.newID.Dev && id.Ino == r.newID.Ino)
}

func (r *Rollout) add(p *Process, newFile *os.File) {
	if !r.follower.Process(p.PID) {
		if p.reader != nil {
			p.reader.Close()
		}
		return // it has ended before it was counted
	}
	if p.reader != nil {
		r.follower.Page(p.reader)
	}
	p.observed.library = p.reader != nil || mayContainLibrary(p.PID)
	if newFile != nil && !p.observed.forbidden {
		p.same = r.runsSame(p.PID, newFile)
	}
	r.all[p.PID] = p
}

// runsSame identifies the image of a process if it has the content of the new file.
func (r *Rollout) runsSame(pid int, newFile *os.File) (image candidate.ID) {
	exe, err := os.Open(exePath(pid))
	if err != nil {
		return candidate.ID{}
	}
	defer exe.Close()
	st, err := sys.StatFile(exe)
	if id := candidate.ID(st); err == nil {
		same, known := r.sameAs[id]
		if !known {
			same = id.Size == r.newID.Size && sameContent(exe, newFile, id.Size)
			r.sameAs[id] = same
		}
		if same {
			return id
		}
	}
	return candidate.ID{}
}

func sameContent(a, b io.ReaderAt, size int64) bool {
	const step = 256 << 10
	x, y := make([]byte, step), make([]byte, step)
	for at := int64(0); at < size; at += step {
		n := min(step, size-at)
		if _, err := a.ReadAt(x[:n], at); err != nil {
			return false
		}
		if _, err := b.ReadAt(y[:n], at); err != nil || !bytes.Equal(x[:n], y[:n]) {
			return false
		}
	}
	return true
}

// Times between two looks at what sends no event.
const (
	tick      = 100 * time.Millisecond // at processes that have no page, or may have one that they don't use any more
	pageTicks = 10                     // at the descriptors of all others
	// maxMissing is how often in a row a page is not found before another one is looked for: the descriptors of a
	// process can't be listed at one moment.
	maxMissing = 2
)

// Wait waits until each process has an outcome, or ctx ends. It calls report when the state of a process, or its text,
// has changed. It reports whether all have an outcome.
func (r *Rollout) Wait(ctx context.Context, report func(*Process)) bool {
	for _, p := range r.Processes() {
		r.look(p, true, report)
	}
	next := time.Now().Add(tick)
	for n := 0; r.waits() > 0 && ctx.Err() == nil; {
		for _, pid := range r.follower.Wait(ctx, time.Until(next)) {
			if p := r.all[pid]; p != nil {
				r.look(p, false, report)
			}
		}
		if time.Now().Before(next) {
			continue
		}
		n++
		next = time.Now().Add(tick)
		for i, p := range r.Processes() {
			whole := p.reader == nil || (n+i)%pageTicks == 0 // not all in one tick: an event would wait
			if p.State == Waiting && (whole || p.Status.Phase == statuspage.Restarting) {
				r.look(p, whole, report)
			}
		}
	}
	return r.waits() == 0
}

// waits returns how many processes have no outcome.
func (r *Rollout) waits() (n int) {
	for _, p := range r.all {
		if p.State == Waiting {
			n++
		}
	}
	return n
}

// look looks at a process that has no outcome yet; with all set, also at what sends no event and takes long.
func (r *Rollout) look(p *Process, all bool, report func(*Process)) {
	if p.State != Waiting {
		return
	}
	o := &p.observed
	o.mark, o.placed = r.target.Mark(), true
	o.ended = r.follower.Ended(p.PID) || all && !statuspage.IsAlive(p.PID)
	if all {
		r.findPage(p)
	}
	if p.reader != nil {
		if s, err := p.reader.Status(); err == nil {
			p.Status = s
		}
	}
	if p.same != (candidate.ID{}) { // it may have executed the file of an earlier deploy meanwhile
		id, err := executable(p.PID)
		o.same = err == nil && id.SameMark(&p.same)
	}
	o.page, o.before, o.now = p.reader != nil, p.before, p.Status
	if !o.page || o.now.File != o.mark {
		o.placed = r.target.Current()
		if id, err := executable(p.PID); err == nil {
			o.execs = id.Mark() == o.mark
		}
		if o.execs && p.executed.IsZero() {
			p.executed = time.Now()
		}
	}
	if o.execs {
		o.waited = time.Since(p.executed)
	}
	v := judge(*o)
	if v.state != p.State || v.text != p.Text {
		if p.State, p.Text = v.state, v.text; p.State != Waiting {
			r.follower.Forget(p.PID)
		}
		report(p)
	}
}

// findPage looks for the page of a process that has none, or that has another by now.
func (r *Rollout) findPage(p *Process) {
	if p.observed.forbidden {
		return
	}
	if p.reader != nil {
		if p.reader.IsOpen() {
			p.missing = 0
			return
		}
		if p.missing++; p.missing < maxMissing {
			return
		}
	}
	page, err := statuspage.Open(p.PID)
	if err != nil {
		if p.reader != nil && errors.Is(err, statuspage.ErrNoPage) {
			p.reader.Close()
			p.reader = nil
		}
		return
	}
	if p.reader != nil {
		p.reader.Close()
	}
	p.reader, p.missing = page, 0
	r.follower.Page(page)
}

func exePath(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/exe" }
