//go:build !autorestart_portable

package standin

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// Until a stand-in serves, its standard output and error are files in memory. A pipe to the main
// process would break at the exec, and end the stand-in by SIGPIPE. Nothing that a version has
// written which does not become ready comes between the lines of the one that serves. The error
// about that version has the last of it.

// An output has what a stand-in writes before it serves.
type output struct{ files [2]*sys.FD } // standard output and error

func newOutput() (*output, error) {
	o := new(output)
	for i := range o.files {
		fd, err := handover.EmptyFile()
		if err != nil {
			o.close()
			return nil, os.NewSyscallError("memfd_create", err)
		}
		o.files[i] = sys.NewFD(fd)
		// The kernel lets two writers overwrite each other's lines in a file in memory otherwise.
		unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_APPEND)
	}
	return o, nil
}

func (o *output) close() {
	for _, f := range o.files {
		if f != nil {
			f.Close()
		}
	}
}

const (
	maxRead  = 64 << 10 // bytes of the end that are looked at
	maxTail  = 1 << 10  // bytes
	maxLines = 8
)

// maxOutput is how many bytes a stand-in may write before it serves. They are memory.
const maxOutput = 64 << 20

// tail returns the last lines of standard error, or else of standard output; of a Go program that
// has crashed, the lines from the reason on: goroutines follow.
func (o *output) tail() string {
	for i := len(o.files) - 1; i >= 0; i-- {
		if text := lastLines(lastOf(o.files[i].Int())); text != "" {
			return text
		}
	}
	return ""
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	first := max(0, len(lines)-maxLines)
	for i, line := range lines {
		if isCrash(line) {
			first = i
			break
		}
	}
	text = strings.Join(lines[first:min(len(lines), first+maxLines)], "\n")
	return strings.ToValidUTF8(text[:min(len(text), maxTail)], "�")
}

// isCrash reports whether a line is the first one that the Go runtime writes when it ends the
// program.
func isCrash(line string) bool {
	for _, prefix := range [...]string{"panic: ", "fatal error: ", "SIGSEGV: ", "SIGBUS: ", "SIGILL: ", "SIGABRT: ", "SIGQUIT: "} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

func lastOf(fd int) string {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return ""
	}
	b := make([]byte, min(st.Size, maxRead))
	n, err := unix.Pread(fd, b, st.Size-int64(len(b)))
	if err != nil {
		return ""
	}
	return string(b[:n])
}

// tooMuch reports whether the stand-in has written more than maxOutput.
func (o *output) tooMuch() bool {
	for _, f := range o.files {
		var st unix.Stat_t
		if unix.Fstat(f.Int(), &st) == nil && st.Size > maxOutput {
			return true
		}
	}
	return false
}

// streams returns the standard streams of a stand-in, and the standard output and error of this
// process, which the stand-in gets when it serves; the null device in place of one that is closed.
// The caller calls done after the fork.
func (o *output) streams() (all [3]int, real []int, done func(), err error) {
	null, err := sys.Open(os.DevNull, unix.O_RDWR)
	if err != nil {
		return all, nil, nil, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	copies := []*sys.FD{null}
	done = func() {
		for _, c := range copies {
			c.Close()
		}
	}
	all[0] = null.Int()
	for i := range o.files {
		all[i+1] = o.files[i].Int()
		stream := i + 1
		if _, _, err := sys.Flags(stream); err != nil {
			stream = null.Int()
		}
		c, err := sys.Duplicate(stream)
		if err != nil {
			done()
			return all, nil, nil, err
		}
		copies = append(copies, c)
		real = append(real, c.Int())
	}
	return all, real, done, nil
}
