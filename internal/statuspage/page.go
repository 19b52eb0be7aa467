package statuspage

import (
	"os"
	"slices"
)

// A Page is the status page of this process. A [Tracker] writes it.
type Page struct {
	file     *os.File
	sequence uint64 // of the record that was written last
}

// Create makes a page. It fails with an error that wraps [errors.ErrUnsupported] on systems
// without memfds.
func Create() (*Page, error) {
	f, err := createFile(pageSize)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt([]byte(header), 0); err != nil {
		f.Close()
		return nil, err
	}
	reopen(f)
	return &Page{file: f}, nil
}

// Adopt takes over the page of the previous image. The page owns f from then on, and f keeps its
// descriptor. If f is no page ([ErrNoPage]) or has another format ([ErrFormat]), f stays with the caller.
// Then the program creates another page, and the requests in this one fail with [ErrGone].
func Adopt(f *os.File) (*Page, error) {
	err := checkFile(f)
	if err == nil {
		err = readHeader(f)
	}
	if err != nil {
		return nil, err
	}
	reopen(f)
	return &Page{file: f}, nil
}

// File returns the file to pass on to the next image. The page owns it.
func (p *Page) File() *os.File { return p.file }

// Close closes the page.
func (p *Page) Close() error { return p.file.Close() }

// write replaces the record by another one.
func (p *Page) write(r *record) error {
	p.sequence++
	_, err := p.file.WriteAt(encodeSlot(p.sequence, r.encode()), slotOffset(p.sequence))
	return err
}

// slotOffset returns where the record with that number is. So a record never overwrites the one before it.
func slotOffset(sequence uint64) int64 { return slotsAt + int64(sequence%numSlots)*slotSize }

// read returns the record that was written last, and continues after it.
func (p *Page) read() (record, error) {
	sequence, r, err := readRecord(p.file)
	p.sequence = sequence
	return r, err
}

// requests returns the IDs of the requests that are in the page.
func (p *Page) requests() (ids []string, err error) {
	b := make([]byte, numRequests*requestSize)
	if _, err := p.file.ReadAt(b, requestsAt); err != nil {
		return nil, err
	}
	for place := range slices.Chunk(b, requestSize) {
		if id, ok := parseRequest(place); ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func readHeader(f *os.File) error {
	b := make([]byte, headerSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	return checkHeader(b)
}

// usualSlot is how much of a slot is read first. Few records are longer.
const usualSlot = 4096

// readSlot reads as much of a slot as has a content.
func readSlot(f *os.File, offset int64) ([]byte, error) {
	b := make([]byte, usualSlot)
	if _, err := f.ReadAt(b, offset); err != nil {
		return nil, err
	}
	if size := sizeOfSlot(b); size > len(b) {
		b = make([]byte, size)
		if _, err := f.ReadAt(b, offset); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// readRecord reads the newest whole record.
func readRecord(f *os.File) (sequence uint64, r record, err error) {
	var newest string
	found := false
	for i := range uint64(numSlots) {
		b, err := readSlot(f, slotOffset(i))
		if err != nil {
			return 0, record{}, err
		}
		if n, text, ok := parseSlot(b); ok && (!found || n > sequence) {
			sequence, newest, found = n, text, true
		}
	}
	if !found {
		return 0, record{}, ErrDamaged
	}
	r, err = parseRecord(newest)
	return sequence, r, err
}
