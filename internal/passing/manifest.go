package passing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/report"
)

// A manifest tells the next image the names of the files that cross the exec, and
// the states. It is a line that names the format, and records: a kind, a name and a
// value, the last two preceded by their lengths as varints. The last record has no
// name, which shows whether a manifest is cut.

const manifestFormat = "autorestart manifest 1\n"

const (
	manifestFile  = 'f' // the value is a descriptor, as a varint
	manifestState = 's'
	manifestEnd   = 'e'
)

var (
	errManifestFormat = errors.New("the manifest has the format of another version of this library")
	errManifestCut    = errors.New("the manifest is cut or damaged")
)

type record struct {
	kind  byte
	name  Name
	value []byte
}

func appendRecord(b []byte, r record) []byte {
	b = append(b, r.kind)
	b = binary.AppendUvarint(b, uint64(len(r.name)))
	b = append(b, r.name...)
	b = binary.AppendUvarint(b, uint64(len(r.value)))
	return append(b, r.value...)
}

func fileRecord(name Name, fd int) record {
	return record{manifestFile, name, binary.AppendUvarint(nil, uint64(fd))}
}

// fd returns the descriptor of a manifestFile, or -1.
func (r record) fd() int {
	n, size := binary.Uvarint(r.value)
	if size <= 0 || size != len(r.value) || n > 1<<30 {
		return -1
	}
	return int(n)
}

// readManifest is inheritedRecords without those that can't be read, which it reports.
func readManifest(inherited *handover.State) []record {
	records, err := inheritedRecords(inherited)
	if err != nil {
		report.Error("the files and states that the previous version passed on are lost: cannot read their list", "reason", err)
	}
	return records
}

// inheritedRecords returns the records of the manifest that was handed over; none if there is
// no manifest.
func inheritedRecords(inherited *handover.State) ([]record, error) {
	fd, text := inherited.Number(handover.Manifest), inherited.Texts[handover.Content]
	switch {
	case fd != 0:
		b, err := handover.ReadMemoryFile(fd, math.MaxInt)
		if err != nil {
			return nil, err
		}
		return parseManifest(b)
	case text != "":
		return parseManifest(unescape(text))
	default:
		return nil, nil
	}
}

// In a variable, which contains no NUL, two bytes stand for a NUL and for a byte with the
// value 1.
var (
	nul, escapedNUL = []byte{0}, []byte{1, 1}
	one, escapedOne = []byte{1}, []byte{1, 2}
)

func escape(b []byte) string {
	return string(bytes.ReplaceAll(bytes.ReplaceAll(b, one, escapedOne), nul, escapedNUL))
}

func unescape(text string) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll([]byte(text), escapedNUL, nul), escapedOne, one)
}

// parseManifest returns the records but the last. Their values are parts of b.
func parseManifest(b []byte) (records []record, err error) {
	b, ok := bytes.CutPrefix(b, []byte(manifestFormat))
	if !ok {
		return nil, errManifestFormat
	}
	for len(b) > 0 {
		r := record{kind: b[0]}
		var name []byte
		if name, b, ok = cutCounted(b[1:]); ok {
			r.value, b, ok = cutCounted(b)
		}
		if !ok {
			break
		}
		if r.kind == manifestEnd {
			return records, nil
		}
		r.name = Name(name)
		records = append(records, r)
	}
	return nil, errManifestCut
}

// cutCounted cuts bytes that are preceded by their number off b.
func cutCounted(b []byte) (counted, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	b = b[size:]
	return b[:n:n], b[n:], true
}
