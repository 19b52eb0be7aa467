package passing

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func manifestOf(records ...record) []byte {
	b := []byte(manifestFormat)
	for _, r := range records {
		b = appendRecord(b, r)
	}
	return appendRecord(b, record{kind: manifestEnd})
}

func TestManifestRoundTrip(t *testing.T) {
	records := []record{
		{manifestFile, "socket", []byte{7}},
		{manifestState, "", []byte("no name")},
		{manifestState, "empty", []byte{}},
		{manifestState, "binary\x00\n\xff", bytes.Repeat([]byte{0, 0xff}, 100_000)},
		{'?', "of a later version", []byte("x")},
	}
	whole := manifestOf(records...)
	if got, err := parseManifest(whole); err != nil || !reflect.DeepEqual(got, records) {
		t.Errorf("got %d records, %v", len(got), err)
	}
	if got, err := parseManifest(manifestOf()); err != nil || len(got) > 0 {
		t.Errorf("an empty one: %v, %v", got, err)
	}
	short := manifestOf(records[:3]...)
	for n := range short {
		want := errManifestCut
		if n < len(manifestFormat) {
			want = errManifestFormat
		}
		if got, err := parseManifest(short[:n]); got != nil || err != want {
			t.Errorf("cut to %d bytes: %v, %v", n, got, err)
		}
	}
}

func TestManifestFileRecord(t *testing.T) {
	for _, fd := range []int{3, 127, 128, 1 << 20} {
		records, err := parseManifest(appendRecord(appendRecord([]byte(manifestFormat), fileRecord("f", fd)), record{kind: manifestEnd}))
		if err != nil || len(records) != 1 || records[0].fd() != fd {
			t.Errorf("%d became %v, %v", fd, records, err)
		}
	}
	for _, value := range []string{"", "\x80", "\x03\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if fd := (record{value: []byte(value)}).fd(); fd != -1 {
			t.Errorf("%q is descriptor %d", value, fd)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte{})
	f.Add(manifestOf())
	f.Add(manifestOf(record{manifestFile, "a", []byte{3}}, record{manifestState, "b", nil}))
	f.Add([]byte(manifestFormat + "s\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := parseManifest(b)
		if err != nil {
			if records != nil {
				t.Errorf("%d records beside %v", len(records), err)
			}
			return
		}
		again, err := parseManifest(manifestOf(records...))
		if err != nil || len(again) != len(records) {
			t.Errorf("%v became %v, %v", records, again, err)
		}
	})
}

// TestGoldenFiles: a manifest is what other versions of this library write and read.
// A golden file is never changed; a new format gets a new file.
func TestGoldenFiles(t *testing.T) {
	known := []record{
		{manifestFile, "log", []byte{8}},
		{manifestFile, `socket tcp/0 ":8080" "[::]:8080" ""`, []byte{0xac, 0x02}},
		{manifestState, "counter", []byte("42")},
		{manifestState, "empty", []byte{}},
		{manifestState, "bytes", []byte("a\x00\xff\n")},
	}
	for _, test := range []struct {
		name    string
		written bool // by this version
	}{
		{"manifest-1.golden", true},
		{"manifest-later.golden", false}, // with kinds of records that this version does not know
	} {
		b, err := os.ReadFile("testdata/" + test.name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseManifest(b)
		got = slices.DeleteFunc(got, func(r record) bool { return r.kind != manifestFile && r.kind != manifestState })
		if err != nil || !reflect.DeepEqual(got, known) {
			t.Errorf("%s: read %v, %v; want %v", test.name, got, err, known)
		}
		if test.written && !bytes.Equal(manifestOf(known...), b) {
			t.Errorf("%s: this version writes\n%q\nwant\n%q", test.name, manifestOf(known...), b)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, b := range []string{"", "a", "\x00", "\x01", "\x02", "\x00\x01\x02\x01\x00", "\x01\x01\x01\x02"} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text := escape(b)
		if strings.Contains(text, "\x00") || len(text) > 2*len(b) {
			t.Errorf("%q became %q", b, text)
		}
		if got := unescape(text); !bytes.Equal(got, b) {
			t.Errorf("%q became %q and %q", b, text, got)
		}
	})
}
