// Package crashlog keeps values by name in two files, so that they are found as last set
// after the process was killed at any instruction.
//
// The files outlive the process: they are memfds that another process has open, too. A
// [Log] writes to one of them, its current slot. The slot contains all values as of some
// moment, its base, and after that a record for each [Log.Write]. When the values that were
// replaced take more room than those that count, the log begins anew in the other slot.
//
// # Which content counts
//
// A write(2) that a signal interrupts leaves the first part of its bytes, and nothing else of
// a process is lost that is killed. The format relies on that, and finds out about most
// other damage:
//
//   - A slot counts if its header and its base are whole. The header is written last. If both
//     slots count, that with the higher epoch does.
//   - The first record that is not whole ends the log. All of a record counts, or nothing.
//   - The checksum of a record continues the checksum of the bytes before it, back to the
//     header. So a record that the slot contains from an earlier use does not count.
//   - The header contains a random number. So no value can look like a record: its author
//     can't know the checksum.
//
// Checksums are CRC-32 with the polynomial of Castagnoli. They find damage, and do not protect
// from a process that can write to the files.
//
// # Compatibility
//
// Another version of this library may have written the files, see internal/handover. A version
// passes over an entry of an unknown kind. If a slot has another format, its first line says
// so, and the slot does not count.
package crashlog

import (
	"errors"
	"io"
	"strconv"
	"sync"
)

// A File is one of the two files of a [Log]. It is used by one goroutine at a time. A File that
// also has the method
//
//	Discard(offset int64) error
//
// gives back the memory behind the offset, where only zeros are then read.
type File interface {
	io.ReaderAt
	io.WriterAt
}

type discarder interface{ Discard(offset int64) error }

// A Change sets the value of a name, or removes it if Value is nil. A value of length 0
// that is not nil is a value.
type Change struct {
	Name  string
	Value []byte
}

// Errors of [New] and [Open]. They are wrapped in a [*SlotError].
var (
	ErrEmpty   = errors.New("nothing was written")
	ErrFormat  = errors.New("the format is not that of this version of the library")
	ErrDamaged = errors.New("the content is cut or damaged")
)

// ErrTooLarge is the error of a Write that is too large for a record, or has a name of more than
// 32,767 bytes.
var ErrTooLarge = errors.New("crash log: too large")

// A SlotError says why the content of a file can't be read.
type SlotError struct {
	Slot int // 0 or 1
	Err  error
}

func (e *SlotError) Error() string {
	return "crash log, slot " + strconv.Itoa(e.Slot) + ": " + e.Err.Error()
}

func (e *SlotError) Unwrap() error { return e.Err }

// A Log is the content of two files. Its methods may be called by several goroutines at the
// same time. It keeps names in memory, and values in the files alone. The caller owns
// the files, and writes to them only by the Log for as long as that is in use.
type Log struct {
	mu      sync.Mutex
	files   [2]File
	current int    // the slot that counts
	epoch   uint64 // the highest that a header has
	nonce   uint64 // of all headers of this log
	places  map[string]place
	live    int64  // bytes of the entries in places
	tail    int64  // where the next record begins
	sum     uint32 // of the bytes before tail, which the next record continues
	stale   bool   // the slot has bytes behind tail that could become records
	retry   int64  // no rewrite as long as tail is less than that: the last one failed
	unsure  bool   // the other slot may count after a crash, and must not
	writer  writer
}

// A place is where an entry is in the current slot.
type place struct {
	offset int64
	head   int // bytes before the value
	value  int // length of the value
}

func (p place) size() int64 { return int64(p.head) + int64(p.value) }

// New returns a log that has the given content. If the files contain a log, its content is
// replaced: after a crash in New either the old content is found, or the new one. Whatever else
// the files contain is overwritten.
func New(files [2]File, content []Change) (*Log, error) {
	l, err := find(files)
	var unreadable *SlotError
	switch {
	case err == nil:
	case errors.As(err, &unreadable) && unreadable.hasNoLog():
		l.nonce = newNonce()
	default:
		return nil, err
	}
	if err := l.Replace(content); err != nil {
		return nil, err
	}
	return l, nil
}

// hasNoLog reports whether the slot was read, and contains no log.
func (e *SlotError) hasNoLog() bool {
	return e.Err == ErrEmpty || e.Err == ErrFormat || e.Err == ErrDamaged
}

// Open returns the log that the files contain, and its content, which the caller owns. No other
// process may still be writing to the files. If neither slot counts, the error is a
// [*SlotError] about the one that says more: [ErrEmpty] means that nothing was written to
// either.
func Open(files [2]File) (l *Log, content map[string][]byte, err error) {
	l, err = find(files)
	if err != nil {
		return nil, nil, err
	}
	content, err = l.content()
	if err != nil {
		return nil, nil, err
	}
	l.tidy()
	return l, content, nil
}

// Write makes all of the changes, or none if it fails. After a crash in Write either all or
// none of them are found. Of several changes for one name the last one counts. An error of a
// file, such as ENOSPC, may pass: the next Write may succeed. A Write that has failed changes
// nothing after a crash either, unless the file has also rejected the bytes that should have
// corrected it.
func (l *Log) Write(changes ...Change) error {
	length, err := bodyLength(changes)
	if length == 0 || err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settle(); err != nil {
		return err
	}
	size := recordHead + length
	if l.due(size) {
		if l.rewrite(true, changes) == nil {
			return nil
		}
		// The other slot may count now. That has the same values as this one, until the next change.
		l.retry = l.tail + max(l.live, slack)
	}
	err = l.append(changes, length)
	if err != nil && l.garbage() >= size && l.rewrite(true, changes) == nil {
		return nil // without what was replaced there is room
	}
	return err
}

// Replace makes content the whole content of the log. If it fails, the old content stays. After
// a crash either the old content is found, or the new one.
func (l *Log) Replace(content []Change) error {
	if err := checkSizes(content); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settle(); err != nil {
		return err
	}
	return l.rewrite(false, content)
}

// Size returns how many bytes the entries take that count, and how many the current slot takes.
// While the log begins anew, the other slot takes as many as count.
func (l *Log) Size() (live, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live, l.tail
}

// slack is how many bytes larger than twice what counts the current slot may become. Tests
// replace it.
var slack int64 = 64 << 10

// garbage returns how many bytes of the current slot don't count.
func (l *Log) garbage() int64 { return l.tail - headerSize - l.live }

// due reports whether to begin anew, rather than to append a record of the given size.
func (l *Log) due(size int64) bool {
	return l.stale || l.tail+size > 2*l.live+slack && l.tail >= l.retry && l.garbage() > 0
}
