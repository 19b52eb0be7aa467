package crashlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
	"golang.org/x/sys/unix"
)

// newMemfd returns a memfd without content.
func newMemfd(t testing.TB) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("crashlog", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	return f
}

// newMemfds returns two memfds. They are open for as long as the test runs.
func newMemfds(t testing.TB) (memfds [2]*os.File, files [2]File) {
	for slot := range memfds {
		memfds[slot] = newMemfd(t)
		files[slot] = Descriptor(memfds[slot].Fd())
	}
	return memfds, files
}

// The names in the log of the writer. All have the same value, or one that follows from it.
const (
	countName = "count"
	againName = "again"
	valueName = "value "
	values    = 3
)

// valueOf returns the value of "value …", which has a seed, and is large sometimes.
func valueOf(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	value := make([]byte, r.IntN(200))
	if r.IntN(10) == 0 {
		value = make([]byte, r.IntN(3*bufferSize))
	}
	for i := range value {
		value[i] = byte(r.Uint32())
	}
	return value
}

// changesTo returns the changes that set count.
func changesTo(count uint64) []Change {
	text := strconv.AppendUint(nil, count, 10)
	return []Change{{countName, text}, {valueName + strconv.FormatUint(count%values, 10), valueOf(count)}, {againName, text}}
}

// checkCount compares the content with what the writer has set when it had the given count.
func checkCount(t *testing.T, content map[string][]byte, count uint64) {
	t.Helper()
	want := map[string][]byte{}
	for n := max(count, values) - values; n <= count; n++ {
		for _, c := range changesTo(n) {
			want[c.Name] = c.Value
		}
	}
	for name, value := range want {
		if !bytes.Equal(content[name], value) {
			t.Errorf("count %d: %s has %d bytes %.40q, want %d bytes %.40q", count, name, len(content[name]), content[name], len(value), value)
		}
	}
	if len(content) != len(want) {
		t.Errorf("count %d: %d names, want %d", count, len(content), len(want))
	}
}

var _ = testprocess.RegisterHelper("crashlog writer", func() {
	files := [2]File{Descriptor(3), Descriptor(4)}
	l, content, err := Open(files)
	if err != nil {
		panic(err)
	}
	count, err := strconv.ParseUint(string(content[countName]), 10, 64)
	if err != nil {
		panic(err)
	}
	end := func(f func()) {
		go func() {
			testprocess.ReadLine() // at a moment that the test chooses
			f()
		}()
	}
	switch os.Args[1] {
	case "kill":
	case "panic":
		end(func() { panic("a fault of the program") })
	case "exit":
		end(func() { os.Exit(3) })
	case "segv":
		end(func() { syscall.Kill(os.Getpid(), syscall.SIGSEGV) })
	}
	for {
		count++
		if err := l.Write(changesTo(count)...); err != nil {
			panic(err)
		}
		os.Stdout.Write(binary.LittleEndian.AppendUint64(nil, count))
	}
})

// TestKills: a process sets values, and reports each Write that has returned. It ends at a
// random moment, 200 times. Each time the next process finds the values as last set: those that
// were reported, or those that the process was setting.
func TestKills(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 20
	}
	memfds, files := newMemfds(t)
	l, err := New(files, changesTo(0))
	if err != nil {
		t.Fatal(err)
	}
	var first, rewrites uint64 = l.epoch, 0
	count := uint64(0)
	helper := testprocess.UseHelper(t, "crashlog writer")
	meanwhile := 0
	for i := range kills {
		kind := []string{"kill", "panic", "exit", "segv", "kill", "kill"}[i%6]
		reported := runWriter(t, helper, kind, memfds, rand.IntN(60))
		found, content, err := Open(files)
		if err != nil {
			t.Fatal(err)
		}
		rewrites = found.epoch - first
		got, err := strconv.ParseUint(string(content[countName]), 10, 64)
		if reported = max(reported, count); err != nil || got != reported && got != reported+1 {
			t.Fatalf("%s %d: found count %q, reported was %d", kind, i, content[countName], reported)
		}
		if got > reported {
			meanwhile++
		}
		checkCount(t, content, got)
		if t.Failed() {
			return
		}
		count = got
	}
	t.Logf("%d writes, %d times begun anew; %d of %d processes ended between a write and its report", count, rewrites, meanwhile, kills)
	if rewrites < 3 && !testing.Short() {
		t.Error("the log has begun anew only a few times")
	}
}

// runWriter starts a writer, ends it after it has reported some writes, and returns the last
// count that it has reported; 0 if none.
func runWriter(t *testing.T, helper, kind string, memfds [2]*os.File, writes int) (reported uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], kind)
	cmd.Env = append(os.Environ(), helper, "GOTRACEBACK=none")
	cmd.ExtraFiles = memfds[:]
	var log testprocess.Log
	cmd.Stderr = &log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var report [8]byte
	for n := 0; ; n++ {
		if n == writes {
			if kind == "kill" {
				cmd.Process.Kill()
			}
			fmt.Fprintln(stdin)
		}
		if _, err := io.ReadFull(stdout, report[:]); err != nil {
			break
		}
		reported = binary.LittleEndian.Uint64(report[:])
	}
	err = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		t.Fatal(err)
	case kind == "kill" && status.Signal() == syscall.SIGKILL:
	case kind == "exit" && status.ExitStatus() == 3:
	case (kind == "panic" || kind == "segv") && status.ExitStatus() == 2:
	default:
		t.Fatalf("%s: the process ended with %v: %s", kind, err, log.String())
	}
	return reported
}
