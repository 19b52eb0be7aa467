package crashlog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
)

// A slot is a header, the base and records. Numbers are little-endian.
//
//	header   the line magic
//	         epoch, nonce, length of the base   8 bytes each
//	         checksum of the base               4 bytes
//	         checksum of all of this            4 bytes
//	base     entries
//	record   checksum, length of the entries    4 bytes each
//	         entries
//
// The checksum of a record is about its length and its entries. It continues that of the record
// before it, or that of the header. A length of 0 ends the log.
//
// An entry is a kind, a name and a value, the last two preceded by their lengths as varints.
// A later entry replaces an earlier one of the same name.
const (
	magic      = "autorestart crash log 1\n"
	headerSize = int64(len(magic) + 3*8 + 2*4)
	recordHead = 2 * 4
)

const (
	entrySet    = 's'
	entryRemove = 'r' // has a value of length 0
)

// Limits of what is written, and of what is read.
const (
	maxName   = 1<<15 - 1
	maxRecord = 1 << 30
	maxBase   = 1 << 50
	maxEpoch  = 1 << 62 // the epoch never reaches that by counting

	maxEntryHead = 1 + 3 + maxName + 5
)

// castagnoli takes some microseconds, which a program that has no log does not pay.
var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// newNonce returns the nonce of a new log. Tests replace it.
var newNonce = rand.Uint64

type header struct {
	epoch, nonce uint64
	base         int64
	baseSum      uint32
}

// append also returns the checksum of the header, which the first record continues.
func (h header) append(b []byte) ([]byte, uint32) {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, h.epoch)
	b = binary.LittleEndian.AppendUint64(b, h.nonce)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.base))
	b = binary.LittleEndian.AppendUint32(b, h.baseSum)
	sum := crc32.Checksum(b[start:], castagnoli())
	return binary.LittleEndian.AppendUint32(b, sum), sum
}

// parseHeader parses what is at the beginning of a slot, which may be too short.
func parseHeader(b []byte) (h header, sum uint32, err error) {
	switch line := bytes.TrimRight(b[:min(len(b), len(magic))], "\x00"); {
	case !bytes.ContainsFunc(b, func(c rune) bool { return c != 0 }):
		return header{}, 0, ErrEmpty
	case !strings.HasPrefix(magic, string(line)):
		return header{}, 0, ErrFormat
	case len(line) < len(magic) || len(b) < int(headerSize):
		return header{}, 0, ErrDamaged
	}
	rest := b[len(magic):headerSize]
	h.epoch = binary.LittleEndian.Uint64(rest)
	h.nonce = binary.LittleEndian.Uint64(rest[8:])
	base := binary.LittleEndian.Uint64(rest[16:])
	h.baseSum = binary.LittleEndian.Uint32(rest[24:])
	sum = crc32.Checksum(b[:headerSize-4], castagnoli())
	if sum != binary.LittleEndian.Uint32(rest[28:]) || base > maxBase || h.epoch >= maxEpoch {
		return header{}, 0, ErrDamaged
	}
	h.base = int64(base)
	return h, sum, nil
}

// appendEntryHead appends an entry without its value.
func appendEntryHead(b []byte, c Change) []byte {
	kind := byte(entrySet)
	if c.Value == nil {
		kind = entryRemove
	}
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(len(c.Name)))
	b = append(b, c.Name...)
	return binary.AppendUvarint(b, uint64(len(c.Value)))
}

type entry struct {
	kind  byte
	name  []byte // a part of what was parsed
	head  int
	value int // length of the value
}

// parseEntry parses the entry at the beginning of b, which has the given length with all that
// comes after it. b may end within the value. An entry that is longer than that is not ok.
func parseEntry(b []byte, length int64) (e entry, ok bool) {
	e.kind = b[0]
	n, nameAt := binary.Uvarint(b[1:])
	if nameAt++; nameAt <= 1 || n > maxName || int(n) > len(b)-nameAt {
		return entry{}, false
	}
	valueAt := nameAt + int(n)
	e.name = b[nameAt:valueAt]
	n, size := binary.Uvarint(b[valueAt:])
	if e.head = valueAt + size; size <= 0 || n > maxRecord || int64(e.head)+int64(n) > length {
		return entry{}, false
	}
	e.value = int(n)
	return e, true
}

// placeOf returns the place of the entry that a change becomes.
func placeOf(c Change, offset int64) place {
	head := 1 + varintSize(len(c.Name)) + len(c.Name) + varintSize(len(c.Value))
	return place{offset, head, len(c.Value)}
}

func varintSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// bodyLength returns the length of the entries of a record.
func bodyLength(changes []Change) (length int64, err error) {
	if err := checkSizes(changes); err != nil {
		return 0, err
	}
	for _, c := range changes {
		length += placeOf(c, 0).size()
	}
	if length > maxRecord {
		return 0, ErrTooLarge
	}
	return length, nil
}

func checkSizes(changes []Change) error {
	for _, c := range changes {
		if len(c.Name) > maxName || len(c.Value) > maxRecord-maxEntryHead {
			return ErrTooLarge
		}
	}
	return nil
}
