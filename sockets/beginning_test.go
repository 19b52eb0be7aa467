package sockets

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// reader is what net/http reads from: it tells b what it does.
type reader struct {
	r io.Reader
	b *beginning

	unknown bool // the stream can't cross
}

func (r *reader) Read(p []byte) (int, error) {
	if !r.unknown && !r.b.find(len(p)) {
		r.unknown = true
	}
	if n := r.b.takeUnread(p); n > 0 {
		r.unknown = !r.b.delivered(p[:n]) || r.unknown
		return n, nil
	}
	n, err := r.r.Read(p)
	if n > 0 && !r.b.delivered(p[:n]) {
		r.unknown = true
	}
	return n, err
}

// done is called when a request is done.
func (r *reader) done() {
	r.b.next()
	r.unknown = false
}

var errMore = errors.New("more is to come")

// The bytes that cross are those of the request that is not complete, wherever the stream is cut, and
// however it was read.
func TestBeginning(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: example\r\n\r\n"
	for range 2000 {
		whole, part := rand.IntN(4), rand.IntN(len(request))
		var input io.Reader = io.MultiReader(strings.NewReader(strings.Repeat(request, whole)+request[:part]), iotest.ErrReader(errMore))
		switch rand.IntN(3) {
		case 0:
			input = iotest.OneByteReader(input)
		case 1:
			input = iotest.HalfReader(input)
		}
		b := new(beginning)
		b.next()
		if n := rand.IntN(len(request)); whole > 0 && rand.IntN(2) == 0 { // an earlier version has read these
			b.known, b.unread = true, make([]byte, n)
			if _, err := io.ReadFull(input, b.unread); err != nil {
				t.Fatal(err)
			}
		}
		r := &reader{r: input, b: b}
		buffered := bufio.NewReader(r)
		served, pipelined := 0, false
		for {
			line, err := buffered.ReadString('\n')
			for err == nil && line != "\r\n" {
				line, err = buffered.ReadString('\n')
			}
			if err != nil {
				break
			}
			served++
			b.forget() // as when the request starts
			pipelined = buffered.Buffered() > maxPeeked
			r.done()
			b.deadlines++
			if _, err = buffered.Peek(maxPeeked + 1); err != nil {
				break
			}
			b.deadlines++
		}
		switch {
		case served != whole:
			t.Fatalf("served %d requests of %d", served, whole)
		case r.unknown != pipelined:
			t.Fatalf("after %d requests and %d bytes, pipelined: %t: unknown is %t", whole, part, pipelined, r.unknown)
		case !r.unknown && string(b.bytes()) != request[:part]:
			t.Fatalf("after %d requests: %q cross, want %q", whole, b.bytes(), request[:part])
		}
	}
}

func TestBeginningIsLimited(t *testing.T) {
	b := new(beginning)
	b.next()
	b.find(4096)
	data := bytes.Repeat([]byte("a"), 4096)
	for n := 0; n < maxBeginning; n += len(data) {
		if !b.delivered(data) {
			t.Fatalf("%d bytes are too much", n+len(data))
		}
	}
	if b.delivered(data[:1]) || b.len() != maxBeginning {
		t.Errorf("more than %d bytes would cross: %d", maxBeginning, b.len())
	}
}
