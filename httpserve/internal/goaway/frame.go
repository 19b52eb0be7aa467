package goaway

import "encoding/binary"

// Frames, as in RFC 9113, sections 4.1 and 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePushPromise  = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameContinuation = 0x9

	flagEndStream  = 0x1 // of data and headers
	flagAck        = 0x1 // of settings and ping
	flagEndHeaders = 0x4
	flagPadded     = 0x8

	headerLen = 9
	pingLen   = 8

	maxStream = 1<<31 - 1
)

// A frame is what this package needs of an HTTP/2 frame. The frames of a header block are one:
// no other frame may come between them.
type frame struct {
	kind, flags byte
	stream      uint32
	head        [pingLen]byte // the beginning of the payload
}

func (f *frame) has(flag byte) bool { return f.flags&flag != 0 }

// isContinued reports whether the header block goes on in the next frame.
func (f *frame) isContinued() bool {
	return (f.kind == frameHeaders || f.kind == framePushPromise) && !f.has(flagEndHeaders)
}

// number returns the stream that a PUSH_PROMISE opens, or the last one that a GOAWAY
// allows.
func (f *frame) number() uint32 {
	id := f.head[:]
	if f.kind == framePushPromise && f.has(flagPadded) {
		id = id[1:]
	}
	return binary.BigEndian.Uint32(id) & maxStream
}

// A frameScanner finds the frames in one direction of a connection. The bytes may come in
// pieces of any size.
type frameScanner struct {
	frame  frame // the current one, or the last one between two frames
	header [headerLen]byte
	seen   int // bytes of the frame, or of its last part, so far, header included
	size   int // all of these bytes, known after the header
}

// betweenFrames reports whether the bytes so far end with the end of a frame.
func (s *frameScanner) betweenFrames() bool { return s.seen == 0 && !s.frame.isContinued() }

// next takes bytes from p up to the end of the frame. It returns the bytes after that,
// and whether the frame is complete. If so, it is in s.frame.
func (s *frameScanner) next(p []byte) (rest []byte, complete bool) {
	for {
		if p, complete = s.nextPart(p); !complete || !s.frame.isContinued() {
			return p, complete
		}
	}
}

// nextPart is next, but that the parts of a header block count as frames.
func (s *frameScanner) nextPart(p []byte) (rest []byte, complete bool) {
	if s.seen < headerLen {
		n := copy(s.header[s.seen:], p)
		p = p[n:]
		s.seen += n
		if s.seen < headerLen {
			return p, false
		}
		s.begin()
	}
	if at := s.seen - headerLen; at < pingLen && s.header[3] == s.frame.kind {
		copy(s.frame.head[at:], p[:min(len(p), s.size-s.seen)])
	}
	n := min(len(p), s.size-s.seen)
	s.seen += n
	if s.seen < s.size {
		return p[n:], false
	}
	s.seen = 0
	return p[n:], true
}

func (s *frameScanner) begin() {
	h := &s.header
	s.size = headerLen + int(h[0])<<16 + int(h[1])<<8 + int(h[2])
	if s.frame.isContinued() && h[3] == frameContinuation {
		s.frame.flags |= h[4] & flagEndHeaders
		return
	}
	s.frame = frame{kind: h[3], flags: h[4], stream: binary.BigEndian.Uint32(h[5:]) & maxStream}
}

// untilEnd returns the part of p up to the end of the frame, or p if the frame does not
// end in it.
func (s frameScanner) untilEnd(p []byte) []byte {
	rest, _ := s.next(p)
	return p[:len(p)-len(rest)]
}

// appendGoAway appends a GOAWAY without an error, which allows streams up to last.
func appendGoAway(b []byte, last uint32) []byte {
	b = append(b, 0, 0, 8, frameGoAway, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	return append(b, 0, 0, 0, 0)
}

func appendPing(b []byte, payload [pingLen]byte) []byte {
	b = append(b, 0, 0, pingLen, framePing, 0, 0, 0, 0, 0)
	return append(b, payload[:]...)
}
