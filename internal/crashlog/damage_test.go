package crashlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"testing"
)

// history returns files with a base and some records in slot 1, and each content that
// they had since the base.
func history(t testing.TB) (files [2]*memory, contents []map[string]string) {
	files = memories()
	l := newLog(t, asFiles(files), Change{"a", []byte("1")}, Change{"b", []byte("2")})
	content := map[string]string{"a": "1", "b": "2"}
	contents = append(contents, content)
	for _, changes := range [][]Change{
		{{"a", []byte("3")}},
		{{"a", []byte("4")}, {"b", nil}, {"c", []byte{}}},
		{{"a", []byte("5")}},
	} {
		write(t, l, changes...)
		content = apply(content, changes)
		contents = append(contents, content)
	}
	return files, contents
}

// checkDamaged opens a log that is damaged from an offset of slot 1 on. The content has to be
// as before the damaged record, and goes on from there, also if the next change is the one that
// was damaged.
func checkDamaged(t *testing.T, files [2]*memory, contents []map[string]string) {
	t.Helper()
	l, content, err := Open(asFiles(files))
	if err != nil {
		if content != nil || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrEmpty) {
			t.Errorf("read %q, %v", content, err)
		}
		newLog(t, asFiles(files), Change{"a", []byte("new")})
		checkContent(t, asFiles(files), map[string]string{"a": "new"})
		return
	}
	n := slices.IndexFunc(contents, func(c map[string]string) bool { return maps.Equal(c, texts(content)) })
	if n < 0 {
		t.Fatalf("read %q, which was never set", content)
	}
	if n == 0 {
		again := Change{"a", []byte("3")} // what was set after the base, in the same place
		write(t, l, again)
		checkContent(t, asFiles(files), contents[1])
	}
}

// TestEachBit: whatever bit changes, what was written before it is found, or none of the base.
func TestEachBit(t *testing.T) {
	files, contents := history(t)
	for i := range files[1].b {
		for bit := range 8 {
			for _, discards := range []bool{false, true} {
				damaged := copied(files)
				damaged[1].b[i] ^= 1 << bit
				if discards {
					checkDamaged(t, damaged, contents)
					continue
				}
				l, content, err := Open(asFiles(damaged))
				inBase := i < int(headerSize)+len("s\x01a\x011s\x01b\x012")
				if inBase != (err != nil) || maps.Equal(texts(content), contents[3]) {
					t.Errorf("byte %d, bit %d: read %q, %v", i, bit, content, err)
				}
				if err == nil {
					write(t, l, Change{"d", []byte("after")})
					checkContent(t, asFiles(damaged), apply(texts(content), []Change{{"d", []byte("after")}}))
				}
			}
		}
	}
}

// TestEachLength: of a log that is cut, what was written before is found.
func TestEachLength(t *testing.T) {
	files, contents := history(t)
	for n := range files[1].b {
		for _, zeros := range []int{0, 100} {
			damaged := copied(files)
			damaged[1].b = append(damaged[1].b[:n:n], make([]byte, zeros)...)
			checkDamaged(t, damaged, contents)
		}
	}
}

// TestNoRecordComesBack: the record behind a damaged one was not found, so it must not be found
// later, also if the damaged record is written again as it was.
func TestNoRecordComesBack(t *testing.T) {
	files, contents := history(t)
	for _, discards := range []bool{false, true} {
		damaged := copied(files)
		first := int(headerSize) + len("s\x01a\x011s\x01b\x012")
		damaged[1].b[first] ^= 1
		l, _, err := Open(faultyFiles(damaged, func(n int) (int, error) { return n, nil }, discards))
		if err != nil {
			t.Fatal(err)
		}
		if discards && len(bytes.TrimRight(damaged[1].b, "\x00")) > first {
			t.Error("the memory of what does not count is not given back")
		}
		write(t, l, Change{"a", []byte("3")})
		checkContent(t, asFiles(damaged), contents[1])
	}
}

// TestNoValueBecomesARecord: a client may be the author of a value, and knows the format. It
// does not know the random number.
func TestNoValueBecomesARecord(t *testing.T) {
	files := memories()
	l := newLog(t, asFiles(files))
	entry := "s\x01a\x06forged"
	forged := binary.LittleEndian.AppendUint32(nil, uint32(len(entry)))
	forged = append(forged, entry...)
	header, _ := header{epoch: l.epoch, base: 0}.append(nil) // what the client may think that it is
	sum := crc32.Update(crc32.Checksum(header[:headerSize-4], castagnoli()), castagnoli(), forged)
	forged = append(binary.LittleEndian.AppendUint32(nil, sum), forged...)
	value := bytes.Repeat(forged, 10)
	record := recordHead + placeOf(Change{"v", value}, 0).size()
	for cut := range int(record) { // the log ends where a part of the value begins
		damaged := copied(files)
		l, _, err := Open(asFiles(damaged))
		if err != nil {
			t.Fatal(err)
		}
		write(t, l, Change{"v", value})
		damaged[1].b = append(damaged[1].b[:headerSize:headerSize], damaged[1].b[int(headerSize)+cut:]...)
		if _, content, err := Open(asFiles(damaged)); err == nil && string(content["a"]) == "forged" {
			t.Fatalf("%d bytes behind its beginning a value was read as a record", cut)
		}
	}
}

func TestOpenSaysWhy(t *testing.T) {
	whole, _ := history(t)
	valid := whole[1].b
	headerOnly := slices.Clone(valid[:headerSize])
	huge, _ := header{epoch: 7, base: maxBase}.append(nil)
	tooLong, _ := header{epoch: 7, base: maxBase + 1}.append(nil)
	negative, _ := header{epoch: 7, base: -1}.append(nil)
	last, _ := header{epoch: maxEpoch}.append(nil)
	later := strings.Replace(string(valid), "log 1", "log 2", 1)
	for name, tt := range map[string]struct {
		slots [2]string
		want  SlotError
	}{
		"nothing":            {[2]string{}, SlotError{0, ErrEmpty}},
		"zeros":              {[2]string{strings.Repeat("\x00", 1000), "\x00"}, SlotError{0, ErrEmpty}},
		"other format":       {[2]string{"", "#!/bin/sh\n"}, SlotError{1, ErrFormat}},
		"later format":       {[2]string{later, ""}, SlotError{0, ErrFormat}},
		"damaged, other":     {[2]string{later, string(headerOnly)}, SlotError{1, ErrDamaged}},
		"cut in the line":    {[2]string{magic[:5], ""}, SlotError{0, ErrDamaged}},
		"line alone":         {[2]string{"", magic}, SlotError{1, ErrDamaged}},
		"header alone":       {[2]string{"", string(headerOnly)}, SlotError{1, ErrDamaged}},
		"base without end":   {[2]string{string(huge), ""}, SlotError{0, ErrDamaged}},
		"base that is wrong": {[2]string{string(tooLong), ""}, SlotError{0, ErrDamaged}},
		"negative base":      {[2]string{string(negative), ""}, SlotError{0, ErrDamaged}},
		"no further epoch":   {[2]string{string(last), ""}, SlotError{0, ErrDamaged}},
		"entry is wrong":     {[2]string{string(slot(5, "s\x01")), ""}, SlotError{0, ErrDamaged}},
	} {
		files := asFiles([2]*memory{{[]byte(tt.slots[0])}, {[]byte(tt.slots[1])}})
		l, content, err := Open(files)
		var got *SlotError
		if !errors.As(err, &got) || *got != tt.want || l != nil || content != nil {
			t.Errorf("%s: read %q, %v", name, content, err)
		}
		newLog(t, files, Change{"a", []byte("1")})
		checkContent(t, files, map[string]string{"a": "1"})
	}
}

// TestWholeSlotCounts: beside a slot with a higher epoch that is not whole.
func TestWholeSlotCounts(t *testing.T) {
	for name, other := range map[string]string{
		"empty": "", "foreign": "x", "lower epoch": string(slot(4, "s\x01a\x01o")), "damaged": string(slot(9, "s\x01a\x01o")[:headerSize+3]),
	} {
		for place := range 2 {
			var files [2]*memory
			files[place] = &memory{slot(5, "s\x01a\x011")}
			files[1-place] = &memory{[]byte(other)}
			l := checkContent(t, asFiles(files), map[string]string{"a": "1"})
			write(t, l, Change{"b", []byte("2")})
			checkContent(t, asFiles(files), map[string]string{"a": "1", "b": "2"})
			if err := l.Replace(nil); err != nil {
				t.Error(err)
			}
			if l = checkContent(t, asFiles(files), map[string]string{}); l.epoch < 6 {
				t.Errorf("%s: epoch %d", name, l.epoch)
			}
		}
	}
}

// slot returns a slot whose checksums are right.
func slot(epoch uint64, base string, records ...string) []byte {
	b, sum := header{epoch, 1, int64(len(base)), crc32.Checksum([]byte(base), castagnoli())}.append(nil)
	b = append(b, base...)
	for _, record := range records {
		record = string(binary.LittleEndian.AppendUint32(nil, uint32(len(record)))) + record
		sum = crc32.Update(sum, castagnoli(), []byte(record))
		b = append(binary.LittleEndian.AppendUint32(b, sum), record...)
	}
	return b
}

// TestUnknownKind: a later version may write entries that this one passes over.
func TestUnknownKind(t *testing.T) {
	files := asFiles([2]*memory{{slot(1, "s\x01a\x011?\x01a\x012", "?\x00\x00s\x01b\x013")}, {}})
	checkContent(t, files, map[string]string{"a": "1", "b": "3"})
}

// unreadable is a File that fails after some bytes.
type unreadable struct {
	*memory
	left *int
}

var errUnreadable = errors.New("input/output error")

func (u *unreadable) ReadAt(b []byte, offset int64) (int, error) {
	if *u.left -= len(b); *u.left < 0 {
		return 0, errUnreadable
	}
	return u.memory.ReadAt(b, offset)
}

// TestUnreadable: content that can't be read now is not taken for none. It is not overwritten.
func TestUnreadable(t *testing.T) {
	start, contents := history(t)
	changes := []Change{{"a", make([]byte, 2*bufferSize)}}
	write(t, checkContent(t, asFiles(start), contents[3]), changes...)
	want := apply(contents[3], changes)
	for limit := 0; ; limit += smallBuffer / 2 {
		files := copied(start)
		left := limit
		_, err := New([2]File{&unreadable{files[0], &left}, &unreadable{files[1], &left}}, nil)
		switch {
		case err == nil:
			checkContent(t, asFiles(files), map[string]string{})
		case !errors.Is(err, errUnreadable):
			t.Errorf("New: %v", err)
		default:
			checkContent(t, asFiles(files), want)
		}
		left = limit
		_, content, err := Open([2]File{&unreadable{start[0], &left}, &unreadable{start[1], &left}})
		switch {
		case err == nil && maps.Equal(texts(content), want) && limit > 2*bufferSize:
			return
		case !errors.Is(err, errUnreadable):
			t.Fatalf("Open: %v with %d values", err, len(content))
		}
	}
}
