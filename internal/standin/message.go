package standin

import (
	"encoding/binary"
	"errors"
)

// A message is what the main process and a stand-in send to each other. Its fields depend on its
// kind. The two may contain different releases of this library: a kind keeps its meaning for ever,
// a message of an unknown kind is passed over, and so are bytes after the known fields.
type message struct {
	kind kind
	n    uint64
	text string
	data []byte
	fd   int // a descriptor that goes with it, or -1
}

type kind byte

// Kinds of messages, to the stand-in (S), to the main process (M), or both. Zero is none.
const (
	started  kind = iota + 1 // M: the stand-in watches its main process; package handover sends it
	serve                    // S: accept; n is how many ms it may drain when its main process has ended
	retire                   // S: accept nothing more, drain for n ms, and exit
	ping                     // S
	pong                     // M
	ready                    // M: Ready was called
	rejected                 // M: this version does not work; text says why
	give                     // both: the connection fd, with key text and state data; n is its number
	taken                    // both: connection n is the receiver's
	refused                  // both: nothing was done with connection n
	signaled                 // S: the main process has got signal n
	farewell                 // M: everything is drained; fd has the states, or is -1
)

// hasFile reports whether a descriptor goes with messages of this kind.
func (k kind) hasFile() bool { return k == give || k == farewell }

// maxMessage is the length in bytes of the longest message: the state of a connection has at most
// 64 KiB, and a reason 4.
const maxMessage = 80 << 10

func (m *message) encode() []byte {
	b := []byte{byte(m.kind)}
	b = binary.AppendUvarint(b, m.n)
	b = binary.AppendUvarint(b, uint64(len(m.text)))
	b = append(b, m.text...)
	b = binary.AppendUvarint(b, uint64(len(m.data)))
	return append(b, m.data...)
}

var errMalformed = errors.New("a message of another form")

// decode returns the message of b, with the descriptor that has come with it. Its data is a part
// of b.
func decode(b []byte, fd int) (m message, err error) {
	if len(b) == 0 {
		return m, errMalformed
	}
	m.kind, m.fd = kind(b[0]), fd
	n, size := binary.Uvarint(b[1:])
	if size <= 0 {
		return m, errMalformed
	}
	m.n = n
	text, b, ok := cutCounted(b[1+size:])
	if !ok {
		return m, errMalformed
	}
	m.text = string(text)
	if m.data, _, ok = cutCounted(b); !ok {
		return m, errMalformed
	}
	return m, nil
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
