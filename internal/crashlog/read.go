package crashlog

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// find reads the slot that counts. If none does, it also returns the rest of the log:
// its files and their highest epoch.
func find(files [2]File) (*Log, error) {
	l := &Log{files: files, places: map[string]place{}}
	var headers [2]header
	var sums [2]uint32
	var errs [2]error
	r := reader{buf: make([]byte, smallBuffer)}
	for slot, file := range files {
		r.open(file)
		b, err := r.at(0, headerSize)
		if err == nil {
			headers[slot], sums[slot], err = parseHeader(b)
		}
		if err != nil && err != ErrEmpty && err != ErrFormat && err != ErrDamaged {
			return nil, &SlotError{slot, err}
		}
		errs[slot] = err
		l.epoch = max(l.epoch, headers[slot].epoch)
	}
	first := 0
	if headers[1].epoch > headers[0].epoch {
		first = 1
	}
	for _, slot := range [2]int{first, 1 - first} {
		if errs[slot] != nil {
			continue
		}
		l.nonce = headers[slot].nonce
		r.open(files[slot])
		switch err := l.load(&r, slot, headers[slot], sums[slot]); err {
		case nil:
			return l, nil
		case ErrDamaged:
			errs[slot] = err
		default:
			return nil, &SlotError{slot, err}
		}
	}
	// Beside a slot that is damaged it says nothing that the other is empty.
	for _, err := range []error{ErrDamaged, ErrFormat} {
		for slot := range errs {
			if errs[slot] == err {
				return l, &SlotError{slot, err}
			}
		}
	}
	return l, &SlotError{0, ErrEmpty}
}

// load reads the base and the records of a slot.
func (l *Log) load(r *reader, slot int, h header, sum uint32) error {
	clear(l.places)
	l.live = 0
	got, err := r.sum(headerSize, h.base, 0)
	if err != nil {
		return err
	}
	if got != h.baseSum {
		return ErrDamaged
	}
	if err := l.readEntries(r, headerSize, h.base); err != nil {
		return err
	}
	l.current, l.sum, l.tail = slot, sum, headerSize+h.base
	for {
		length, sum, err := l.nextRecord(r)
		if err != nil {
			return err
		}
		if length == 0 {
			return nil
		}
		if err := l.readEntries(r, l.tail+recordHead, length); err != nil {
			return err
		}
		l.sum, l.tail = sum, l.tail+recordHead+length
	}
}

// nextRecord returns the length and the checksum of the record at tail; 0 if the log ends there.
func (l *Log) nextRecord(r *reader) (length int64, sum uint32, err error) {
	head, err := r.at(l.tail, recordHead)
	if err != nil {
		return 0, 0, err
	}
	for _, c := range head {
		l.stale = l.stale || c != 0
	}
	if len(head) < recordHead {
		return 0, 0, nil
	}
	want := binary.LittleEndian.Uint32(head)
	length = int64(binary.LittleEndian.Uint32(head[4:]))
	if length == 0 || length > maxRecord {
		return 0, 0, nil
	}
	switch sum, err = r.sum(l.tail+4, 4+length, l.sum); {
	case err == ErrDamaged, err == nil && sum != want:
		return 0, 0, nil
	case err != nil:
		return 0, 0, err
	}
	l.stale = false
	return length, sum, nil
}

// readEntries reads the entries in a part of a slot whose checksum is right.
func (l *Log) readEntries(r *reader, offset, length int64) error {
	for end := offset + length; offset < end; {
		b, err := r.at(offset, min(maxEntryHead, end-offset))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return ErrDamaged
		}
		e, ok := parseEntry(b, end-offset)
		if !ok {
			return ErrDamaged
		}
		switch e.kind {
		case entrySet:
			l.set(string(e.name), place{offset, e.head, e.value})
		case entryRemove:
			l.remove(string(e.name))
		}
		offset += int64(e.head) + int64(e.value)
	}
	return nil
}

func (l *Log) set(name string, p place) {
	l.live += p.size() - l.places[name].size()
	l.places[name] = p
}

func (l *Log) remove(name string) {
	l.live -= l.places[name].size()
	delete(l.places, name)
}

// content reads the values, in their order.
func (l *Log) content() (map[string][]byte, error) {
	r := reader{buf: make([]byte, smallBuffer)}
	r.open(l.files[l.current])
	content := make(map[string][]byte, len(l.places))
	for _, e := range l.entriesBut(nil) {
		value := make([]byte, e.value)
		if err := r.read(value, e.offset+int64(e.head)); err != nil {
			return nil, &SlotError{l.current, err}
		}
		content[e.name] = value
	}
	return content, nil
}

// bufferSize is the most that is read or copied at a time. It has room for the head of an
// entry. A small log needs no more than the small buffer.
const (
	bufferSize  = 64 << 10
	smallBuffer = 4 << 10
)

// A reader reads a file through a buffer.
type reader struct {
	file   File
	buf    []byte // of smallBuffer or bufferSize
	offset int64  // of what is in the buffer
	n      int    // how much that is
}

func (r *reader) open(file File) { r.file, r.n = file, 0 }

// at returns the n bytes at an offset, or those up to the end of the file. They are valid until
// the next call.
func (r *reader) at(offset, n int64) ([]byte, error) {
	if from := offset - r.offset; 0 <= from && from+n <= int64(r.n) {
		return r.buf[from : from+n], nil
	}
	if n > int64(len(r.buf)) {
		r.buf = make([]byte, bufferSize)
	}
	got, err := readAt(r.file, r.buf, offset)
	if err != nil {
		r.n = 0
		return nil, err
	}
	r.offset, r.n = offset, got
	return r.buf[:min(n, int64(got))], nil
}

// read fills b. It fails with ErrDamaged if the file ends before.
func (r *reader) read(b []byte, offset int64) error {
	for len(b) > 0 {
		part, err := r.at(offset, min(int64(len(b)), bufferSize))
		if err != nil {
			return err
		}
		if len(part) == 0 {
			return ErrDamaged
		}
		n := copy(b, part)
		b = b[n:]
		offset += int64(n)
	}
	return nil
}

// sum returns the checksum of a part of the file, continuing another one. It fails with
// ErrDamaged if the file ends before.
func (r *reader) sum(offset, length int64, sum uint32) (uint32, error) {
	for length > 0 {
		b, err := r.at(offset, min(length, bufferSize))
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return 0, ErrDamaged
		}
		sum = crc32.Update(sum, castagnoli(), b)
		offset += int64(len(b))
		length -= int64(len(b))
	}
	return sum, nil
}

// readAt fills b, unless the file ends before. That is not an error.
func readAt(file io.ReaderAt, b []byte, offset int64) (int, error) {
	n, err := file.ReadAt(b, offset)
	if err == io.EOF {
		err = nil
	}
	return n, err
}
