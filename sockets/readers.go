package sockets

import (
	"bytes"
	"runtime"
	"slices"
	"time"
	"unsafe"
)

// readers counts the packets that are being handled: those whose readers have not read
// again. A call does not say who makes it. Where each reader has a buffer of its own, as
// most do, a call with the buffer of an earlier one is from a reader that is done with
// its packet. Of any other call the goroutine is looked up.
type readers struct {
	handling int

	// doubtful is how many of these may have been handled, because a goroutine that had not
	// read before has come since, or a buffer without a packet. It is either another reader, or
	// it continues for the one that has read the packet. After doubtTime that is assumed.
	doubtful int
	until    time.Time

	// What is known of the readers, until there have been too many lookups.
	buffers    []*byte
	failed     []*byte // those of them with which the last call has read no packet
	goroutines []string
	lookups    int
}

const (
	doubtTime = time.Second

	// A lookup takes 2 to 10 us. A socket with more readers, or with a new buffer for each
	// packet, is no longer looked at so closely: every reader that comes is taken for one
	// that is done.
	maxLookups = 128
)

// begin is called when a reader calls a read method with the buffer. It reports whether
// that changes what a drain waits for.
func (r *readers) begin(buffer []byte) (changed bool) {
	other := r.isNew(buffer) || r.hasFailed(buffer)
	switch {
	case r.settle() == 0:
		return false
	case other:
		r.doubtful = min(r.doubtful+1, r.handling)
		r.until = time.Now().Add(doubtTime)
	default:
		r.handling--
		r.doubtful = min(r.doubtful, r.handling) // it may be the packet of another one
	}
	return true
}

// end is called when a reader returns from a read method.
func (r *readers) end(buffer []byte, err error) {
	first := unsafe.SliceData(buffer)
	switch {
	case err == nil:
		r.handling++
	case first != nil && slices.Contains(r.buffers, first):
		r.failed = append(r.failed, first)
	}
}

// hasFailed reports whether the last call with the buffer has read no packet.
func (r *readers) hasFailed(buffer []byte) bool {
	i := slices.Index(r.failed, unsafe.SliceData(buffer))
	if i < 0 {
		return false
	}
	r.failed = slices.Delete(r.failed, i, i+1)
	return true
}

// isNew reports whether the caller is known to be a goroutine that has not read before.
func (r *readers) isNew(buffer []byte) bool {
	if r.lookups == maxLookups {
		return false
	}
	first := unsafe.SliceData(buffer)
	if first != nil && slices.Contains(r.buffers, first) {
		return false
	}
	if r.lookups++; r.lookups == maxLookups {
		r.buffers, r.failed, r.goroutines = nil, nil, nil
		return false
	}
	if first != nil {
		r.buffers = append(r.buffers, first)
	}
	g := goroutine()
	if slices.Contains(r.goroutines, g) {
		return false
	}
	r.goroutines = append(r.goroutines, g)
	return true
}

// settle ends the doubt when its time is up, and returns how many packets are being handled.
func (r *readers) settle() (handling int) {
	if r.doubtful > 0 && !time.Now().Before(r.until) {
		r.handling -= r.doubtful
		r.doubtful = 0
	}
	return r.handling
}

// doubtEnds returns when settle will change something; zero if it won't.
func (r *readers) doubtEnds() time.Time {
	if r.doubtful == 0 {
		return time.Time{}
	}
	return r.until
}

// goroutine returns what identifies the calling goroutine: its number in a stack trace.
func goroutine() string {
	var b [40]byte
	number, _, _ := bytes.Cut(bytes.TrimPrefix(b[:runtime.Stack(b[:], false)], []byte("goroutine ")), []byte(" "))
	return string(number)
}
