//go:build unix

package sys

import (
	"bytes"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Another process may have made standard error nonblocking, for all that have it open.
func TestLineWaitsForRoomInNonblockingStderr(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := DuplicateFile(w)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := unix.SetNonblock(fd.Int(), true); err != nil {
		t.Fatal(err)
	}
	written := 0
	for size := 1 << 12; size > 0; {
		n, err := unix.Write(fd.Int(), make([]byte, size))
		if err == unix.EAGAIN {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
		written += max(0, n)
	}
	stderr := os.Stderr
	os.Stderr = fd.File("stderr")
	defer func() {
		os.Stderr.Close()
		os.Stderr = stderr
	}()

	// Longer than what a pipe takes at once.
	line := append(bytes.Repeat([]byte("x"), 1<<17), '\n')
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		WriteStderr(line)
	}()
	select {
	case <-returned:
		t.Fatal("the line was dropped")
	case <-time.After(50 * time.Millisecond): // it is about to wait, or waits
	}
	var got []byte
	for b := make([]byte, 1<<12); len(got) < written+len(line); {
		n, err := r.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b[:n]...)
	}
	<-returned
	if !bytes.Equal(got[written:], line) {
		t.Error("the line is not whole")
	}
}
