//go:build !autorestart_portable

package standin

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// closed-streams closes its standard streams, and tells about those of a stand-in.
var _ = testprocess.RegisterHelper("closed-streams", func() {
	answer := os.NewFile(3, "answer")
	os.Pipe() // it opens the descriptors of the runtime's poller, too
	for fd := range 3 {
		unix.Close(fd)
	}
	out, err := newOutput()
	if err != nil {
		fmt.Fprint(answer, err)
		return
	}
	all, real, done, err := out.streams()
	if err != nil {
		fmt.Fprint(answer, err)
		return
	}
	defer done()
	for i, fd := range real {
		if _, _, err := sys.Flags(fd); err != nil || fd < 3 || i > 0 && fd == real[i-1] {
			fmt.Fprintln(answer, "standard output and error of the stand-in when it serves:", real, err)
			return
		}
	}
	for _, fd := range all {
		if _, _, err := sys.Flags(fd); err != nil {
			fmt.Fprintln(answer, "standard streams of the stand-in when it starts:", all, err)
			return
		}
	}
	fmt.Fprint(answer, "ok")
})

// A daemon may have closed its standard streams. No standard stream crosses an exec by its number,
// and each descriptor that crosses has one owner.
func TestClosedStreams(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "closed-streams"))
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	b := make([]byte, 1000)
	n, _ := r.Read(b)
	if err := cmd.Wait(); err != nil || string(b[:n]) != "ok" {
		t.Errorf("%s %v", b[:n], err)
	}
}

// take-streams writes, as a stand-in before it serves and then when it does.
var _ = testprocess.RegisterHelper("take-streams", func() {
	time.Sleep(time.Nanosecond) // it opens the descriptors of the runtime's poller
	real := []int{3, 4}
	out, err := newOutput()
	if err != nil {
		panic(err)
	}
	for i := range out.files {
		must(0, out.files[i].DuplicateOver(i+1))
		fmt.Fprint([]*os.File{os.Stdout, os.Stderr}[i], "before, ")
	}
	takeStreams(real)
	fmt.Print("after")
	fmt.Fprint(os.Stderr, "after")
	for _, fd := range real {
		if _, _, err := sys.Flags(fd); err == nil {
			fmt.Fprint(os.Stderr, "; descriptor ", fd, " is open")
		}
	}
})

// A stand-in writes to the streams of its main process when it serves, first what it has written
// before.
func TestTakeStreams(t *testing.T) {
	var readers, writers []*os.File
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers, writers = append(readers, r), append(writers, w)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "take-streams"))
	cmd.ExtraFiles = writers
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for i, r := range readers {
		writers[i].Close()
		defer testprocess.LimitIO(r, testprocess.Timeout)()
		if b, err := io.ReadAll(r); string(b) != "before, after" || err != nil {
			t.Errorf("stream %d: %q, %v", i+1, b, err)
		}
	}
}

const (
	lineWriters = 4
	lineCount   = 300 // of each
	lineLength  = 3000
)

// take-streams-busily writes whole lines while it takes the streams.
var _ = testprocess.RegisterHelper("take-streams-busily", func() {
	out, err := newOutput()
	if err != nil {
		panic(err)
	}
	must(0, out.files[0].DuplicateOver(1))
	var writing sync.WaitGroup
	halfWay := make(chan bool, lineWriters)
	for w := range lineWriters {
		writing.Go(func() {
			for n := range lineCount {
				line := fmt.Appendf(nil, "%d %d ", w, n)
				line = append(line, bytes.Repeat([]byte("x"), lineLength-1-len(line))...)
				os.Stdout.Write(append(line, '\n'))
				if n == lineCount/2 {
					halfWay <- true
				}
			}
		})
	}
	<-halfWay
	takeStreams([]int{3})
	writing.Wait()
})

// What a stand-in writes at the moment at which it gets the streams of its main process is neither
// lost nor cut, and no line comes within another one.
func TestLinesStayWhole(t *testing.T) {
	for range 4 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer testprocess.LimitIO(r, testprocess.Timeout)()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "take-streams-busily"))
		cmd.ExtraFiles = []*os.File{w}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		lines := map[string]bool{}
		for in := bufio.NewReader(r); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			if len(line) != lineLength || strings.Count(line, " ") != 2 {
				t.Fatalf("a line has %d bytes: %.100q", len(line), line)
			}
			lines[strings.TrimRight(line, "x\n")] = true
		}
		if err := cmd.Wait(); err != nil || len(lines) != lineWriters*lineCount {
			t.Fatalf("%d lines of %d, %v", len(lines), lineWriters*lineCount, err)
		}
	}
}

// TestTail: the last lines of the output are in the error about a version.
func TestTail(t *testing.T) {
	many := strings.Repeat("a line\n", 20000)
	for _, test := range []struct{ name, out, err, want string }{
		{"nothing", "", "", ""},
		{"blank lines", "", "\n \n", ""},
		{"standard output", "one\ntwo\n", "", "one\ntwo"},
		{"both", "one\n", "two\n", "two"},
		{"without an end of line", "", "fatal", "fatal"},
		{"many lines", "", many + "the last\n", strings.Repeat("a line\n", maxLines-1) + "the last"},
		{"crash", "", many + "panic: no config\n\ngoroutine 1 [running]:\n" + strings.Repeat("main.f()\n", 100),
			"panic: no config\n\ngoroutine 1 [running]:\n" + strings.TrimSpace(strings.Repeat("main.f()\n", maxLines-3))},
		{"long line", "", strings.Repeat("x", 3*maxRead), strings.Repeat("x", maxTail)},
		{"cut character", "", strings.Repeat("é", maxTail), strings.Repeat("é", maxTail/2)},
		{"no text", "", "\xff\x00\n", "�\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, err := newOutput()
			if err != nil {
				t.Fatal(err)
			}
			defer o.close()
			for i, text := range []string{test.out, test.err} {
				if _, err := unix.Write(o.files[i].Int(), []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			if got := o.tail(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if o.tooMuch() {
				t.Error("it is too much")
			}
		})
	}
}

func TestTooMuchOutput(t *testing.T) {
	for i := range 2 {
		o, err := newOutput()
		if err != nil {
			t.Fatal(err)
		}
		defer o.close()
		for size, want := range map[int64]bool{maxOutput: false, maxOutput + 1: true} {
			if err := unix.Ftruncate(o.files[i].Int(), size); err != nil {
				t.Fatal(err)
			}
			if o.tooMuch() != want {
				t.Errorf("stream %d, %d bytes: too much: %v", i+1, size, !want)
			}
		}
	}
}
