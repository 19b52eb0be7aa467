package crashlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
)

// append appends a record at tail.
func (l *Log) append(changes []Change, length int64) error {
	w := &l.writer
	w.begin(l.files[l.current], l.tail, l.sum)
	w.beginRecord(length)
	for _, c := range changes {
		w.entry(c)
	}
	if w.endRecord(l.tail); w.err != nil {
		err := w.err
		l.erase()
		return err
	}
	offset := l.tail + recordHead
	for _, c := range changes {
		p := placeOf(c, offset)
		if c.Value == nil {
			l.remove(c.Name)
		} else {
			l.set(c.Name, p)
		}
		offset += p.size()
	}
	l.sum, l.tail = w.sum, offset
	return nil
}

// rewrite begins anew in the other slot, with the changes, and with all other values if they
// are kept. If it fails, the current slot stays as it is.
func (l *Log) rewrite(keep bool, changes []Change) error {
	last := make(map[string]int, len(changes)) // the changes that count
	for i, c := range changes {
		last[c.Name] = i
	}
	var kept []named
	if keep {
		kept = l.entriesBut(last)
	}
	other := 1 - l.current
	w := &l.writer
	w.begin(l.files[other], headerSize, 0)
	l.copyEntries(w, kept)
	for i, c := range changes {
		if c.Value != nil && last[c.Name] == i {
			w.entry(c)
		}
	}
	w.flush()
	h := header{l.epoch + 1, l.nonce, w.offset - headerSize, w.sum}
	complete := w.err == nil
	headerSum := w.header(h)
	if err := w.err; err != nil {
		l.unsure = l.release(other) != nil && complete
		return err
	}
	old := l.current
	l.current, l.epoch = other, h.epoch
	l.sum, l.tail = headerSum, headerSize+h.base
	l.stale, l.retry = false, 0
	l.move(kept, changes, last)
	l.release(old) // it does not count beside a higher epoch
	return nil
}

// A named place.
type named struct {
	name string
	place
}

// entriesBut returns the places of all entries but those of some names, in their order.
func (l *Log) entriesBut(without map[string]int) []named {
	entries := make([]named, 0, len(l.places))
	for name, p := range l.places {
		if _, ok := without[name]; !ok {
			entries = append(entries, named{name, p})
		}
	}
	slices.SortFunc(entries, func(a, b named) int { return cmp.Compare(a.offset, b.offset) })
	return entries
}

// copyEntries copies entries, adjacent ones at once.
func (l *Log) copyEntries(w *writer, entries []named) {
	for i := 0; i < len(entries); {
		start := entries[i].offset
		end := start
		for ; i < len(entries) && entries[i].offset == end; i++ {
			end += entries[i].size()
		}
		w.copy(l.files[l.current], start, end-start)
	}
}

// move adjusts the places to a slot that was rewritten.
func (l *Log) move(kept []named, changes []Change, last map[string]int) {
	places := make(map[string]place, len(kept)+len(last))
	offset := headerSize
	for _, e := range kept {
		e.offset = offset
		places[e.name] = e.place
		offset += e.size()
	}
	for i, c := range changes {
		if c.Value != nil && last[c.Name] == i {
			p := placeOf(c, offset)
			places[c.Name] = p
			offset += p.size()
		}
	}
	l.places, l.live = places, offset-headerSize
}

// settle makes sure that the other slot does not count, after a header was written there with
// an error.
func (l *Log) settle() error {
	if !l.unsure {
		return nil
	}
	err := l.release(1 - l.current)
	l.unsure = err != nil
	return err
}

// tidy gives back the memory of what does not count any more when a log was opened.
func (l *Log) tidy() {
	l.release(1 - l.current)
	if l.stale && l.discard(l.current, l.tail) == nil {
		l.stale = false
	}
}

// erase makes sure that a record that was written with an error does not count, and gives its
// memory back.
func (l *Log) erase() {
	if l.discard(l.current, l.tail) != nil {
		l.zero(l.current, l.tail, recordHead)
	}
}

// release makes a slot one that does not count, and gives its memory back.
func (l *Log) release(slot int) error {
	if l.discard(slot, 0) == nil {
		return nil
	}
	return l.zero(slot, 0, headerSize)
}

// zero writes n zeros.
func (l *Log) zero(slot int, offset, n int64) error {
	_, err := l.files[slot].WriteAt(make([]byte, n), offset)
	return err
}

// discard gives back the memory of a slot behind an offset.
func (l *Log) discard(slot int, offset int64) error {
	if d, ok := l.files[slot].(discarder); ok {
		return d.Discard(offset)
	}
	return errors.ErrUnsupported
}

// A writer writes to a file through a buffer, and sums up what it writes. After an error
// it does nothing.
type writer struct {
	file   io.WriterAt
	offset int64  // of the buffer
	sum    uint32 // of what was written
	skip   int    // bytes at the beginning of the buffer that the sum leaves out
	buf    []byte // at most bufferSize
	err    error
}

// begin has the writer write at an offset, and continue a checksum.
func (w *writer) begin(file io.WriterAt, offset int64, sum uint32) {
	*w = writer{file: file, offset: offset, sum: sum, buf: w.buf[:0]}
}

// beginRecord writes the head of a record. endRecord writes its checksum.
func (w *writer) beginRecord(length int64) {
	w.buf = binary.LittleEndian.AppendUint32(w.buf, 0)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(length))
	w.skip = 4
}

// endRecord writes the rest of the record that begins at start: all of it at once, if it fits
// into the buffer.
func (w *writer) endRecord(start int64) {
	if w.offset == start {
		w.sum = crc32.Update(w.sum, castagnoli(), w.buf[w.skip:])
		binary.LittleEndian.PutUint32(w.buf, w.sum)
		w.writeAt(w.buf, start)
		return
	}
	w.flush()
	w.buf = binary.LittleEndian.AppendUint32(w.buf[:0], w.sum)
	w.writeAt(w.buf, start)
}

// header writes the header of a slot, and returns its checksum.
func (w *writer) header(h header) (sum uint32) {
	w.buf, sum = h.append(w.buf[:0])
	w.writeAt(w.buf, 0)
	return sum
}

// entry writes an entry.
func (w *writer) entry(c Change) {
	w.room(maxEntryHead - maxName + len(c.Name))
	w.buf = appendEntryHead(w.buf, c)
	if len(w.buf)+len(c.Value) <= bufferSize {
		w.buf = append(w.buf, c.Value...)
		return
	}
	w.flush()
	w.sum = crc32.Update(w.sum, castagnoli(), c.Value)
	w.writeAt(c.Value, w.offset)
	w.offset += int64(len(c.Value))
}

// copy writes a part of another file.
func (w *writer) copy(from io.ReaderAt, offset, size int64) {
	w.buf = slices.Grow(w.buf, bufferSize-len(w.buf))
	for size > 0 && w.err == nil {
		w.room(1)
		start := len(w.buf)
		n := int(min(size, int64(bufferSize-start)))
		w.buf = w.buf[:start+n]
		got, err := readAt(from, w.buf[start:], offset)
		if err == nil && got < n {
			err = ErrDamaged
		}
		if w.err == nil {
			w.err = err
		}
		offset += int64(n)
		size -= int64(n)
	}
}

// room makes room for n bytes in the buffer.
func (w *writer) room(n int) {
	if len(w.buf)+n > bufferSize {
		w.flush()
	}
}

// flush writes what is in the buffer.
func (w *writer) flush() {
	w.sum = crc32.Update(w.sum, castagnoli(), w.buf[w.skip:])
	w.skip = 0
	w.writeAt(w.buf, w.offset)
	w.offset += int64(len(w.buf))
	w.buf = w.buf[:0]
}

func (w *writer) writeAt(b []byte, offset int64) {
	if w.err == nil && len(b) > 0 {
		_, w.err = w.file.WriteAt(b, offset)
	}
}
