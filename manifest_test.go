package autorestart

import (
	"bytes"
	"reflect"
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
		records, err := parseManifest(appendRecord(appendFileRecord([]byte(manifestFormat), "f", fd), record{kind: manifestEnd}))
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
