package statuspage

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"
)

// A Reader reads the status page of another process, and asks it for a restart. The process may be
// this one.
type Reader struct {
	pid  int
	page *os.File

	requesting sync.Mutex // one request has the locks of the page's descriptor
}

// Find opens the status page of a process. The errors are [ErrNoProcess], [ErrNoPage], [ErrFormat]
// and [ErrDamaged], and errors that wrap [fs.ErrPermission] or [errors.ErrUnsupported].
func Find(pid int) (r *Reader, err error) {
	for attempt := range findAttempts {
		r, err = find(pid)
		passes := err == ErrNoPage || errors.Is(err, fs.ErrPermission)
		if err != errNoFiles && (!passes || attempt > findAttemptsWithFiles) {
			return r, err
		}
		time.Sleep(findPause)
	}
	return nil, ErrNoPage
}

// The descriptors of a process can't be listed at one moment, so a page that is passed from one version
// to the next may be missing in a list. The list is empty, and only root may read it, for as long as the
// kernel ends the threads of a process that executes: the main thread may be the first that ends. That
// takes milliseconds, but up to 50 ms in a program with the race detector.
const (
	findAttempts          = 100
	findAttemptsWithFiles = 5
	findPause             = 10 * time.Millisecond
)

// errNoFiles says that a process has no file open: it executes another version, or has ended.
var errNoFiles = errors.New("the process has no files open")

func find(pid int) (*Reader, error) {
	pages, err := openPages(pid)
	if err != nil {
		return nil, err
	}
	inside := innermostPID(pid)
	var found *Reader
	err = ErrNoPage
	for _, page := range pages {
		r := &Reader{pid: pid, page: page}
		checkErr := r.check(inside)
		if checkErr == nil && found == nil {
			found = r
			continue
		}
		page.Close()
		if checkErr != nil {
			err = checkErr
		}
	}
	if found == nil {
		return nil, err
	}
	return found, nil
}

// check returns an error unless the page can be read and is that of the process, which sees itself as
// inside. A stand-in has the page of its main process.
func (r *Reader) check(inside int) error {
	if err := readHeader(r.page); err != nil {
		return err
	}
	s, err := r.Status()
	if err == nil && inside != 0 && s.PID != inside {
		err = &otherProcessError{s.PID}
	}
	return err
}

// otherProcessError says that a process has the page of another process.
type otherProcessError struct{ pid int }

func (e *otherProcessError) Error() string {
	return ErrNoPage.Error() + " of its own, but that of process " + strconv.Itoa(e.pid)
}

func (e *otherProcessError) Is(target error) bool { return target == ErrNoPage }

// Close closes the page. The process keeps it.
func (r *Reader) Close() error { return r.page.Close() }

// Status returns the status of the process. It fails with [ErrDamaged] if there is none.
func (r *Reader) Status() (Status, error) {
	rec, err := r.record()
	return rec.Status, err
}

// readAttempts is how often a page without a whole record is read again. A daemon writes one record
// after the other, in turns, so a reader finds none only if it was stopped between two reads, at two
// wrong moments.
const readAttempts = 100

func (r *Reader) record() (rec record, err error) {
	for range readAttempts {
		if _, rec, err = readRecord(r.page); err != ErrDamaged {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return rec, err
}

// Request asks the process to execute the file at its path now, and waits for the outcome: until the
// new version is ready, and healthy if it is on trial, or until the restart has failed. Requests of
// several processes that arrive together have the same outcome. One request of a Reader is under way
// at a time.
//
// If ctx ends before, Request returns its cause and withdraws the request: the restart is called off
// if it has not come to the exec. Other errors are
//   - [ErrEnded], if the process has ended
//   - [ErrNotServed], if the program executes no requests
//   - [ErrGone], if the new version keeps no status page, or executes no requests
//   - [ErrBusy], joined to the cause of ctx, if the page had no room until ctx ended
//   - an error that wraps [fs.ErrPermission], if the page can't be written
//   - [ErrDamaged].
func (r *Reader) Request(ctx context.Context) (Outcome, error) {
	r.requesting.Lock()
	defer r.requesting.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := r.wait(ctx)
	if err := r.awaitServed(ctx, wait); err != nil {
		return Outcome{}, err
	}
	place, err := r.claim(ctx, wait)
	if err != nil {
		return Outcome{}, err
	}
	defer place.release()
	id := newID()
	if _, err := place.file.WriteAt(encodeRequest(id), place.offset); err != nil {
		return Outcome{}, err
	}
	for served := time.Now(); ; {
		rec, err := r.record()
		if err != nil {
			return Outcome{}, err
		}
		for _, e := range rec.requests {
			if e.id == id && e.outcome.Kind != "" {
				return e.outcome, nil
			}
		}
		if wait.over != nil {
			return Outcome{}, wait.over
		}
		if rec.Serves || rec.Phase == Restarting {
			served = time.Now()
		} else if time.Since(served) > servesWithin {
			return Outcome{}, ErrGone
		}
		wait.next(ctx)
	}
}

// servesWithin is how long a version may take from its first record until it executes requests.
const servesWithin = 2 * pollInterval

// awaitServed returns an error if the program executes no requests.
func (r *Reader) awaitServed(ctx context.Context, w *waiting) error {
	for begun := time.Now(); ; {
		s, err := r.Status()
		switch {
		case err != nil:
			return err
		case s.Serves:
			return nil
		case w.over != nil:
			return w.over
		case time.Since(begun) > servesWithin:
			return ErrNotServed
		}
		w.next(ctx)
	}
}

// newID returns an ID that no other request has. It is no secret: whoever can open the page can read it.
func newID() string { return hexadecimal(rand.Uint64(), 16) + hexadecimal(rand.Uint64(), 16) }

// A place is where one request is in the page.
type place struct {
	file   *os.File // has the lock
	offset int64
}

// claim waits until there is a place.
func (r *Reader) claim(ctx context.Context, w *waiting) (*place, error) {
	for {
		index, err := lockRequest(r.page)
		if err == nil {
			return &place{r.page, requestsAt + int64(index)*requestSize}, nil
		}
		if err != ErrBusy {
			return nil, err
		}
		if w.over != nil {
			return nil, errors.Join(w.over, ErrBusy)
		}
		w.next(ctx)
	}
}

// release withdraws the request, which the daemon then forgets.
func (p *place) release() {
	p.file.WriteAt(make([]byte, requestSize), p.offset)
	unlockRequest(p.file, p.offset)
}

// A waiting is what a request waits for.
type waiting struct {
	r       *Reader
	changed <-chan struct{} // the page may have changed
	ended   <-chan struct{} // the process has ended; nil if that can't be told
	ticker  *time.Ticker
	missing int   // looks in a row that have not found the page in the process
	over    error // why there will be no outcome that is not in the page now
}

// wait begins to wait, until ctx ends.
func (r *Reader) wait(ctx context.Context) *waiting {
	w := &waiting{r: r, changed: changes(ctx, r.page, pollInterval), ticker: time.NewTicker(pollInterval)}
	context.AfterFunc(ctx, w.ticker.Stop)
	process, err := openProcess(r.pid)
	if err != nil {
		return w // next looks for the page in the process
	}
	context.AfterFunc(ctx, func() { process.Close() })
	ended := make(chan struct{})
	w.ended = ended
	go func() {
		if waitForEnd(process) {
			close(ended)
		}
	}()
	return w
}

// next waits until the page may have changed, or sets over.
func (w *waiting) next(ctx context.Context) {
	select {
	case <-w.changed:
	case <-w.ended:
		w.over = ErrEnded
	case <-ctx.Done():
		w.over = context.Cause(ctx)
	case <-w.ticker.C:
		w.look()
	}
}

// maxMissing is how often in a row a look must not find the page in the process: the descriptors of a
// process can't be listed at one moment, see findAttempts.
const maxMissing = 3

// look sets over if the page is not in the process any more.
func (w *waiting) look() {
	open, err := isOpenIn(w.r.pid, w.r.page)
	switch {
	case open:
		w.missing = 0
	case err == ErrNoProcess:
		w.over = ErrEnded
	case err == nil || err == errNoFiles:
		if w.missing++; w.missing == maxMissing {
			w.over = ErrGone
		}
	}
}
