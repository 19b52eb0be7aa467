package crashlog

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// checkContent compares a log, opened anew, with what it should contain.
func checkContent(t *testing.T, files [2]File, want map[string]string) *Log {
	t.Helper()
	l, content, err := Open(files)
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(content); !maps.Equal(got, want) {
		t.Fatalf("read %.1000q, want %.1000q", got, want)
	}
	return l
}

func texts(content map[string][]byte) map[string]string {
	m := make(map[string]string, len(content))
	for name, value := range content {
		m[name] = string(value)
	}
	return m
}

// apply is what changes do to the content.
func apply(content map[string]string, changes []Change) map[string]string {
	after := maps.Clone(content)
	for _, c := range changes {
		if c.Value == nil {
			delete(after, c.Name)
		} else {
			after[c.Name] = string(c.Value)
		}
	}
	return after
}

func withSlack(t testing.TB, n int64) {
	was := slack
	t.Cleanup(func() { slack = was })
	slack = n
}

func newLog(t testing.TB, files [2]File, content ...Change) *Log {
	t.Helper()
	l, err := New(files, content)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func write(t testing.TB, l *Log, changes ...Change) {
	t.Helper()
	if err := l.Write(changes...); err != nil {
		t.Fatal(err)
	}
}

func TestWrite(t *testing.T) {
	files := asFiles(memories())
	l := newLog(t, files, Change{"a", []byte("1")}, Change{"", []byte{}})
	content := map[string]string{"a": "1", "": ""}
	checkContent(t, files, content)
	large := []byte(strings.Repeat("large", bufferSize))
	for _, changes := range [][]Change{
		nil,
		{{"a", []byte("2")}},
		{{"", nil}, {"b\x00", []byte{0, 0xff}}},
		{{"a", nil}, {"a", []byte("3")}, {"absent", nil}},
		{{"a", []byte("4")}, {"a", nil}},
		{{strings.Repeat("n", maxName), large}, {"behind", []byte("x")}},
		{{"n", large[:bufferSize]}, {"o", large[:bufferSize-maxEntryHead]}, {strings.Repeat("n", maxName), nil}},
		{{"n", nil}, {"o", nil}, {"b\x00", nil}, {"behind", nil}},
	} {
		write(t, l, changes...)
		content = apply(content, changes)
		l = checkContent(t, files, content)
	}
	if len(content) > 0 {
		t.Error("the last step leaves", content)
	}
}

// TestReplace: no value stays that is not in the new content, and the last value of a name counts.
func TestReplace(t *testing.T) {
	files := asFiles(memories())
	l := newLog(t, files, Change{"a", []byte("1")})
	for _, content := range [][]Change{
		{{"b", []byte("2")}},
		{},
		{{"a", []byte("1")}, {"a", []byte("2")}, {"b", []byte("3")}, {"b", nil}},
	} {
		if err := l.Replace(content); err != nil {
			t.Fatal(err)
		}
		checkContent(t, files, apply(map[string]string{}, content))
	}
}

// TestNewReplacesOlderLog: its values are gone, and its records never count again.
func TestNewReplacesOlderLog(t *testing.T) {
	memories := memories()
	files := asFiles(memories)
	for i := range 5 {
		l := newLog(t, files, Change{strconv.Itoa(i), []byte("base")})
		checkContent(t, files, map[string]string{strconv.Itoa(i): "base"})
		for range 10 { // all of the same length, so that they are where older ones were
			write(t, l, Change{strconv.Itoa(i), []byte("next")})
		}
		checkContent(t, files, map[string]string{strconv.Itoa(i): "next"})
		if l.epoch != uint64(i+1) {
			t.Errorf("epoch %d, want %d", l.epoch, i+1)
		}
	}
}

func TestNewOverwritesWhatIsNoLog(t *testing.T) {
	for _, content := range []string{"x", magic, strings.Repeat("x", 1000), strings.ReplaceAll(magic, "1", "2"), strings.Repeat("\x00", 100)} {
		memories := memories()
		for _, m := range memories {
			m.b = []byte(content)
		}
		newLog(t, asFiles(memories), Change{"a", []byte("1")})
		checkContent(t, asFiles(memories), map[string]string{"a": "1"})
	}
}

func TestTooLarge(t *testing.T) {
	files := asFiles(memories())
	l := newLog(t, files, Change{"a", []byte("1")})
	for _, c := range []Change{{strings.Repeat("n", maxName+1), []byte("1")}, {strings.Repeat("n", maxName+1), nil}} {
		if err := l.Write(c); err != ErrTooLarge {
			t.Error("Write:", err)
		}
		if err := l.Replace([]Change{c}); err != ErrTooLarge {
			t.Error("Replace:", err)
		}
		if _, err := New(asFiles(memories()), []Change{c}); err != ErrTooLarge {
			t.Error("New:", err)
		}
	}
	value := make([]byte, 1<<20)
	changes := slices.Repeat([]Change{{"b", value}}, maxRecord/len(value))
	if err := l.Write(changes...); err != ErrTooLarge {
		t.Error("Write of a GiB:", err)
	}
	checkContent(t, files, map[string]string{"a": "1"})
}

// TestSize: the log begins anew before it is much larger than what counts, and the memory that
// the other slot had is given back.
func TestSize(t *testing.T) {
	memories := memories()
	l := newLog(t, faultyFiles(memories, func(n int) (int, error) { return n, nil }, true))
	value := make([]byte, 1000)
	for i := range 400 {
		name := strconv.Itoa(i % 60)
		write(t, l, Change{name, value})
		if i%50 == 49 {
			write(t, l, Change{name, nil})
		}
		live, total := l.Size()
		if want := int64(len(l.places)) * (1000 + 4 + 2); live > want || live < want-200 {
			t.Fatalf("%d bytes live, want about %d", live, want)
		}
		if total > 2*live+slack {
			t.Fatalf("%d bytes, of which %d are live", total, live)
		}
		for slot, m := range memories {
			if slot != l.current && len(bytes.TrimLeft(m.b, "\x00")) > 0 {
				t.Fatalf("after %d writes, the other slot is not empty", i)
			}
		}
	}
	opened, _, err := Open(asFiles(memories))
	if err != nil {
		t.Fatal(err)
	}
	live, total := l.Size()
	if gotLive, gotTotal := opened.Size(); gotLive != live || gotTotal != total {
		t.Errorf("opened with size %d of %d, want %d of %d", gotLive, gotTotal, live, total)
	}
}

func TestConcurrentWrites(t *testing.T) {
	withSlack(t, 1000)
	files := asFiles(memories())
	l := newLog(t, files)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 200 {
				value := []byte(strconv.Itoa(n))
				if err := l.Write(Change{"a" + strconv.Itoa(i), value}, Change{"b" + strconv.Itoa(i), value}); err != nil {
					t.Error(err)
				}
				l.Size()
			}
		})
	}
	group.Wait()
	want := map[string]string{}
	for i := range 4 {
		want["a"+strconv.Itoa(i)], want["b"+strconv.Itoa(i)] = "199", "199"
	}
	checkContent(t, files, want)
}

// TestWriteCopies: the caller may change a value after Write.
func TestWriteCopies(t *testing.T) {
	files := asFiles(memories())
	value := []byte("1")
	l := newLog(t, files, Change{"a", value})
	write(t, l, Change{"b", value})
	value[0] = '2'
	write(t, l, Change{"c", value})
	checkContent(t, files, map[string]string{"a": "1", "b": "1", "c": "2"})
}

func TestWriteAllocatesNothing(t *testing.T) {
	files := asFiles(memories())
	value := make([]byte, 100)
	l := newLog(t, files, Change{"a", value}, Change{"b", make([]byte, 100_000)})
	for range 3000 { // grow buffers and files to what they will be
		write(t, l, Change{"a", value})
	}
	if n := testing.AllocsPerRun(1000, func() { write(t, l, Change{"a", value}) }); n > 0 {
		t.Errorf("%v allocations for each Write", n)
	}
}

func TestSlotError(t *testing.T) {
	_, _, err := Open(asFiles(memories()))
	if !errors.Is(err, ErrEmpty) || err.Error() != "crash log, slot 0: nothing was written" {
		t.Error(err)
	}
}
