package crashlog

import (
	"bytes"
	"os"
	"testing"
)

// golden are the files in testdata. They are what other versions of this library have written,
// or may write later. A golden file is never changed; a new format gets a new file.
var golden = []struct {
	name    string
	written bool // by this version
	content map[string]string
}{
	{"base-1.golden", true, map[string]string{"counter": "41", "empty": "", "bytes": "a\x00\xff\n"}},
	{"records-1.golden", true, map[string]string{"counter": "43", "empty": "", "socket \x00": "x"}},
	// With kinds of entries that this version does not know.
	{"later-1.golden", false, map[string]string{"counter": "43", "empty": ""}},
	{"torn-1.golden", false, map[string]string{"counter": "42", "empty": "", "bytes": "a\x00\xff\n"}},
}

// writeGolden returns what this version writes: the file when it has a base, and the same with
// records.
func writeGolden(t *testing.T) (base, records []byte) {
	was := newNonce
	t.Cleanup(func() { newNonce = was })
	newNonce = func() uint64 { return 0x0123456789abcdef }
	files := memories()
	l := newLog(t, asFiles(files), Change{"counter", []byte("41")}, Change{"empty", []byte{}}, Change{"bytes", []byte("a\x00\xff\n")})
	base = bytes.Clone(files[l.current].b)
	write(t, l, Change{"counter", []byte("42")})
	write(t, l, Change{"counter", []byte("43")}, Change{"bytes", nil}, Change{"socket \x00", []byte("x")})
	return base, files[l.current].b
}

func TestGoldenFiles(t *testing.T) {
	base, records := writeGolden(t)
	now := map[string][]byte{"base-1.golden": base, "records-1.golden": records}
	for _, g := range golden {
		b, err := os.ReadFile("testdata/" + g.name)
		if err != nil {
			t.Fatal(err)
		}
		for slot := range 2 {
			files := memories()
			files[slot].b = bytes.Clone(b)
			checkContent(t, asFiles(files), g.content)
		}
		if g.written && !bytes.Equal(now[g.name], b) {
			t.Errorf("%s: this version writes\n%q\nwant\n%q", g.name, now[g.name], b)
		}
	}
}
