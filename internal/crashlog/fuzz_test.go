package crashlog

import (
	"bytes"
	"maps"
	"testing"
)

// checkOpened checks what every log must be like that Open has returned, or that Open has rejected.
func checkOpened(t *testing.T, files [2]*memory) {
	t.Helper()
	var total int
	for _, m := range files {
		total += len(m.b)
	}
	l, content, err := Open(asFiles(files))
	if err != nil {
		if l != nil || content != nil {
			t.Errorf("read %q beside %v", content, err)
		}
		return
	}
	for name, value := range content {
		if total -= len(name) + len(value); value == nil {
			t.Errorf("the value of %q is nil", name)
		}
	}
	if total < 0 {
		t.Errorf("read more than the files have: %q", content)
	}
	want := texts(content)
	checkContent(t, asFiles(copied(files)), want)
	change := Change{"a", []byte("after")}
	want = apply(want, []Change{change})
	for range 2 {
		write(t, l, change)
		checkContent(t, asFiles(copied(files)), want)
	}
	delete(want, "b")
	if err := l.rewrite(true, []Change{{"b", nil}}); err != nil {
		t.Fatal(err)
	}
	if got := checkContent(t, asFiles(files), want); got.tail != headerSize+got.live || !maps.Equal(got.places, l.places) {
		t.Errorf("%d bytes, of which %d are live", got.tail, got.live)
	}
}

// FuzzOpen: files with any content.
func FuzzOpen(f *testing.F) {
	files, _ := history(f)
	f.Add([]byte{}, []byte{})
	f.Add([]byte(magic), files[1].b)
	f.Add(files[1].b, files[1].b[:len(files[1].b)-3])
	f.Add(slot(3, "s\x01a\x011", "s\x01a\x012", "r\x01a\x00"), slot(4, ""))
	f.Add(slot(3, ""), bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		checkOpened(t, [2]*memory{{bytes.Clone(first)}, {bytes.Clone(second)}})
	})
}

// FuzzEntries: a base and records with any content, whose checksums are right.
func FuzzEntries(f *testing.F) {
	f.Add("", "", "")
	f.Add("s\x01a\x011", "s\x01a\x012r\x01b\x00", "r\x01a\x00")
	f.Add("s\x00\x00?\x01x\x01y", "s\x80\x00\x80\x00", "s\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Add("r\x01a\x011", "s\xff\x01", "s\x01a\xff\xff\xff\xff\x03x")
	f.Fuzz(func(t *testing.T, base, first, second string) {
		checkOpened(t, [2]*memory{{slot(5, base, first, second)}, {}})
	})
}
