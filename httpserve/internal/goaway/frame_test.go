package goaway

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// appendFrame appends a frame.
func appendFrame(b []byte, kind, flags byte, stream uint32, payload string) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, payload...)
}

// scan returns the frames in p, fed in pieces of n bytes.
func scan(s *frameScanner, p []byte, n int) (frames []frame) {
	for piece := range slices.Chunk(p, n) {
		for len(piece) > 0 {
			rest, complete := s.next(piece)
			if complete {
				frames = append(frames, s.frame)
			}
			piece = rest
		}
	}
	return frames
}

func TestScanner(t *testing.T) {
	var b []byte
	b = appendFrame(b, frameSettings, 0, 0, "")
	b = appendFrame(b, frameHeaders, flagEndStream|flagEndHeaders, 5, "abc")
	b = appendFrame(b, frameData, 0, maxStream, "0123456789")
	b = appendFrame(b, framePushPromise, 0, 5, "\x00\x00\x00\x02a")
	b = appendFrame(b, frameContinuation, 0, 5, "0123456789")
	b = appendFrame(b, frameContinuation, flagEndHeaders, 5, "")
	b = appendFrame(b, framePing, flagAck, 1<<31, "01234567") // the highest bit is reserved
	b = appendFrame(b, frameGoAway, 0, 0, "\xff\xff\xff\xff\x00\x00\x00\x00")
	want := []frame{
		{kind: frameSettings},
		{kind: frameHeaders, flags: flagEndStream | flagEndHeaders, stream: 5, head: [8]byte{'a', 'b', 'c'}},
		{kind: frameData, stream: maxStream, head: [8]byte([]byte("01234567"))},
		{kind: framePushPromise, flags: flagEndHeaders, stream: 5, head: [8]byte{0, 0, 0, 2, 'a'}},
		{kind: framePing, flags: flagAck, head: [8]byte([]byte("01234567"))},
		{kind: frameGoAway, head: [8]byte{255, 255, 255, 255}},
	}
	for n := 1; n <= len(b); n++ {
		var s frameScanner
		if got := scan(&s, b, n); !slices.Equal(got, want) || !s.betweenFrames() {
			t.Fatalf("in pieces of %d: %v, between frames: %v; want %v", n, got, s.betweenFrames(), want)
		}
	}
}

func TestUntilEnd(t *testing.T) {
	one := appendFrame(nil, frameData, 0, 1, "0123456789")
	two := slices.Concat(one, one)
	for seen := range len(one) {
		var s frameScanner
		s.next(one[:seen])
		if got := s.untilEnd(two[seen:]); len(got) != len(one)-seen {
			t.Errorf("after %d bytes: %d, want %d", seen, len(got), len(one)-seen)
		}
		if got := s.untilEnd(one[seen : len(one)-1]); len(got) != len(one)-1-seen {
			t.Errorf("after %d bytes, without an end: %d, want %d", seen, len(got), len(one)-1-seen)
		}
	}
}

func TestFrameNumber(t *testing.T) {
	for _, f := range []struct {
		frame
		want uint32
	}{
		{frame{kind: framePushPromise, head: [8]byte{0x80, 0, 1, 2, 9}}, 0x102},
		{frame{kind: framePushPromise, flags: flagPadded, head: [8]byte{9, 0x80, 0, 1, 2, 9}}, 0x102},
		{frame{kind: frameGoAway, flags: flagPadded, head: [8]byte{0x80, 0, 1, 2, 9}}, 0x102},
	} {
		if got := f.number(); got != f.want {
			t.Errorf("%v: %d, want %d", f.frame, got, f.want)
		}
	}
}

func TestAppendGoAwayAndPing(t *testing.T) {
	got := appendPing(appendGoAway(nil, maxStream), [8]byte([]byte("01234567")))
	want := appendFrame(nil, frameGoAway, 0, 0, "\x7f\xff\xff\xff\x00\x00\x00\x00")
	want = appendFrame(want, framePing, 0, 0, "01234567")
	if !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// Bytes have the same frames, with the same ends, in pieces of any size.
func FuzzScanner(f *testing.F) {
	f.Add(appendFrame(nil, frameHeaders, 0, 1, "abc"), 2)
	f.Add(appendGoAway(nil, 7), 11)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1}, 18)
	f.Fuzz(func(t *testing.T, p []byte, n int) {
		if n <= 0 || len(p) == 0 {
			return
		}
		var whole, pieces, ends frameScanner
		want := scan(&whole, p, len(p))
		if got := scan(&pieces, p, n); !slices.Equal(got, want) || pieces.betweenFrames() != whole.betweenFrames() {
			t.Fatalf("in pieces of %d: %v, want %v", n, got, want)
		}
		var n2 int
		for rest := p; len(rest) > 0; {
			until := ends.untilEnd(rest)
			if after, complete := ends.next(rest); complete {
				n2++
			} else if len(after) != 0 {
				t.Fatalf("%d bytes left of a frame that has no end", len(after))
			}
			rest = rest[len(until):]
		}
		if n2 != len(want) {
			t.Fatalf("%d ends, want %d", n2, len(want))
		}
	})
}
