package sockets

import (
	"bytes"
	"sync"
)

// A beginning is what was read of a request before its header was complete. The stream crosses
// the exec with it, and the next version reads it again.
//
// Where a request begins is known of the first one of a connection. After another request the
// reader, which is the [bufio.Reader] of net/http, may have read a part of it already. Package
// net/http then sets the read deadline, waits until its reader has 4 bytes, sets the deadline
// again, and parses line by line. So
//   - when it reads after one call of SetReadDeadline, its reader has 3 bytes at most, and none
//     is parsed: these are the last that were delivered
//   - when it reads after two calls, lines may have been parsed, and nothing tells how many.
type beginning struct {
	known bool          // all bytes since the begin of the request are in read
	read  *bytes.Buffer // nil if there are none

	// unread are those that come next: the previous version has read them, and this one will.
	unread []byte

	// bufferSize is the size that the first reader's buffer has. A reader with a smaller buffer
	// keeps some data of an earlier read.
	bufferSize int

	deadlines int    // calls of SetReadDeadline since the last request
	last      []byte // bytes that were delivered, at most maxPeeked
}

const (
	// maxPeeked is how many bytes of the next request net/http has at most when it waits for
	// more of them before it parses any.
	maxPeeked = 3

	// maxBeginning limits the bytes that cross the exec with a stream.
	maxBeginning = 64 << 10
)

var beginningBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// next is called when a request is done.
func (b *beginning) next() {
	if b.bufferSize == 0 { // nothing was read before
		b.known = true
		return
	}
	b.forget()
	b.deadlines = 0
}

// forget is called when the header is complete, or can't cross.
func (b *beginning) forget() {
	b.known = false
	if b.read != nil {
		if b.read.Cap() <= maxBeginning {
			b.read.Reset()
			beginningBuffers.Put(b.read)
		}
		b.read = nil
	}
}

// find finds out where the request begins, when a reader with a buffer of the given size comes.
// It reports whether that is known.
func (b *beginning) find(size int) bool {
	if b.bufferSize == 0 {
		b.bufferSize = size
	}
	if b.known {
		return true
	}
	buffered := b.bufferSize - size
	if b.deadlines != 1 || buffered < 0 || buffered > len(b.last) {
		return false
	}
	b.known = true
	b.add(b.last[len(b.last)-buffered:])
	return true
}

// delivered is called with what a reader gets. It reports whether the stream can still cross
// with it.
func (b *beginning) delivered(data []byte) bool {
	tail := append(b.last, data[max(0, len(data)-maxPeeked):]...)
	b.last = append(b.last[:0], tail[max(0, len(tail)-maxPeeked):]...)
	if !b.known || b.len()+len(data) > maxBeginning {
		return false
	}
	b.add(data)
	return true
}

func (b *beginning) add(data []byte) {
	if len(data) == 0 {
		return
	}
	if b.read == nil {
		b.read = beginningBuffers.Get().(*bytes.Buffer)
	}
	b.read.Write(data)
}

func (b *beginning) len() int {
	n := len(b.unread)
	if b.read != nil {
		n += b.read.Len()
	}
	return n
}

// bytes returns what the next version has to read again. Empty lines before a request mean
// nothing, see RFC 9112, section 2.2; net/http passes them over only on the connection on which
// a POST request came before.
func (b *beginning) bytes() []byte {
	if b.read == nil {
		return b.unread
	}
	return bytes.TrimLeft(append(bytes.Clone(b.read.Bytes()), b.unread...), "\r\n")
}

// takeUnread copies bytes that the previous version has read to p.
func (b *beginning) takeUnread(p []byte) (n int) {
	n = copy(p, b.unread)
	if b.unread = b.unread[n:]; len(b.unread) == 0 {
		b.unread = nil
	}
	return n
}
