//go:build !autorestart_portable

package standin

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// An earlierStream is the file in memory that a standard stream of this stand-in was before it
// served. A thread that has begun to write there does not notice that the stream is another one now.
type earlierStream struct {
	file   *sys.FD
	stream int
	offset int64 // what comes before was copied
}

// lateWrites are the times between the looks at what late threads have written.
var lateWrites = [...]time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second}

// takeStreams gives this stand-in the standard output and error of its main process, and copies
// what it has written before, which takes a second. It owns the descriptors.
func takeStreams(real []int) {
	var all []*earlierStream
	for i, fd := range real {
		stream, target := i+1, sys.NewFD(fd)
		file, err := sys.Duplicate(stream)
		if target.DuplicateOver(stream) == nil && err == nil {
			e := &earlierStream{file: file, stream: stream}
			e.copy()
			all = append(all, e)
		} else if err == nil {
			file.Close()
		}
		target.Close()
	}
	if len(all) == 0 {
		return
	}
	for _, pause := range lateWrites {
		time.Sleep(pause)
		for _, e := range all {
			e.copy()
		}
	}
	for _, e := range all {
		e.file.Close()
	}
}

// copy copies what was written since the last call.
func (e *earlierStream) copy() {
	// This waits for a write that is under way: the kernel shows a part of it before its end.
	unix.Fallocate(e.file.Int(), unix.FALLOC_FL_KEEP_SIZE, 0, 1)
	b := make([]byte, 64<<10)
	for {
		n, err := unix.Pread(e.file.Int(), b, e.offset)
		if n <= 0 || err != nil {
			return
		}
		n = wholeLines(b[:n])
		e.offset += int64(n)
		sys.WriteTo(e.stream, b[:n])
	}
}

// maxAtomic is how many bytes one write puts into a pipe without those of others in between, see
// PIPE_BUF in pipe(7).
const maxAtomic = 4096

// wholeLines returns how many bytes of b are written at once: as many lines as one write puts into a
// pipe, or a longer one.
func wholeLines(b []byte) int {
	if n := bytes.LastIndexByte(b[:min(len(b), maxAtomic)], '\n') + 1; n > 0 {
		return n
	}
	if n := bytes.IndexByte(b, '\n') + 1; n > 0 {
		return n
	}
	return len(b)
}
