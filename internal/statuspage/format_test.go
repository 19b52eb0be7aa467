package statuspage

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

const (
	idA = "00112233445566778899aabbccddeeff"
	idB = "ffeeddccbbaa99887766554433221100"
)

func exampleRecord() record {
	return record{
		Status: Status{
			PID: 12, Generation: 3, Version: `example.com/app v1.2.0 "q"`,
			Phase: Serving, Since: time.Unix(1700000000, 5), Trial: true,
			Last: Outcome{Kind: RolledBack, Generation: 2, Version: "v1.1.0", Reason: "check failed: 503", At: time.Unix(1700000001, 0)},
		},
		requests: []entry{
			{id: idA, generation: 2, outcome: Outcome{Kind: CalledOff, Generation: 3, Version: "v1.2.0", Reason: "", At: time.Unix(1700000002, 0)}},
			{id: idB, generation: 3},
		},
	}
}

// exampleRecord2 is a record with what ps and deploy need besides.
func exampleRecord2() record {
	r := exampleRecord()
	r.File, r.Started, r.Path, r.Watch = "fd00/1a2b/25a0c0/17c0ffee12345678/", time.Unix(1699999999, 0), "/srv/\"a\" \x1b\xff", "inotify"
	r.Last.Kind, r.Last.File, r.Last.Retryable = Rejected, "fd00/1a2c/25a0c0/17c0ffee12345679/", true
	return r
}

func TestRecordHasTextForm(t *testing.T) {
	for _, want := range []record{exampleRecord(), exampleRecord2()} {
		got, err := parseRecord(want.encode())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
}

// Other releases have written these records, or may write them.
func TestGoldenRecords(t *testing.T) {
	own := exampleRecord()
	for name, want := range map[string]record{"record.golden": own, "record-2.golden": exampleRecord2(), "later.golden": func() record {
		r := own
		r.Phase, r.Last.Kind = "hibernating", "gone by"
		return r
	}()} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseRecord(string(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got  %+v, %v\nwant %+v", name, got, err, want)
		}
	}
	second := exampleRecord2()
	for name, r := range map[string]*record{"record.golden": &own, "record-2.golden": &second} {
		if text, _ := os.ReadFile("testdata/" + name); r.encode() != string(text) {
			t.Errorf("%s: the form has changed:\n%s", name, r.encode())
		}
	}
}

func TestDamagedRecords(t *testing.T) {
	good := exampleRecord()
	text := good.encode()
	for name, damaged := range map[string]string{
		"empty":            "",
		"no PID":           strings.Replace(text, "pid 12\n", "", 1),
		"PID zero":         strings.Replace(text, "pid 12", "pid 0", 1),
		"PID no number":    strings.Replace(text, "pid 12", "pid x", 1),
		"PID negative":     strings.Replace(text, "pid 12", "pid -1", 1),
		"PID out of range": strings.Replace(text, "pid 12", "pid 99999999999999999999", 1),
		"no phase":         strings.Replace(text, "phase serving\n", "", 1),
		"no quotes":        strings.Replace(text, "version \"", "version ", 1),
		"no time":          strings.Replace(text, "since 1700000000000000005", "since", 1),
		"outcome cut":      strings.Replace(text, " \"check failed: 503\"", "", 1),
		"no outcome":       strings.Replace(text, "last rolled-back", "last ", 1),
		"no ID":            strings.Replace(text, idA, "0011", 1),
		"too many":         text + strings.Repeat("request "+idA+" 1 under-way\n", numRequests),
	} {
		if damaged == text {
			t.Errorf("%s: it is not damaged", name)
		}
		if r, err := parseRecord(damaged); err != ErrDamaged {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// A record fits into its slot, whatever its texts are.
func TestLongestRecordFits(t *testing.T) {
	for _, text := range []string{`"\`, "\x00", "é\u2028", "\xff", "\x1b[31m"} {
		long := strings.Repeat(text, 10_000)
		r := exampleRecord()
		r.Version, r.Last.Reason, r.Last.Version = long, long, long
		r.Path, r.Watch, r.File, r.Last.File = long[:maxPath], long, long, long
		r.requests = nil
		for range 2 * numRequests {
			r.requests = append(r.requests, entry{id: idA, outcome: r.Last})
		}
		b := encodeSlot(1, r.encode())
		if len(b) > slotSize {
			t.Fatalf("%q: %d bytes", text, len(b))
		}
		_, encoded, ok := parseSlot(b)
		got, err := parseRecord(encoded)
		if !ok || err != nil || len(got.requests) != numRequests || len(got.Last.Reason) > maxReason || len(got.Version) > maxVersion {
			t.Errorf("%q: %t, %v", text, ok, err)
		}
	}
}

// The texts of a hostile page can't control the terminal that they are shown on.
func TestTextsAreClean(t *testing.T) {
	for text, want := range map[string]string{
		"check failed":         "check failed",
		"two\nlines\ttab":      "two lines tab",
		"\x1b]0;title\a":       " ]0;title ",
		"caf\u00e9 \xff":       "café ?",
		"\u202eright to left":  " right to left",
		"NUL\x00 and \u009b1m": "NUL  and  1m",
	} {
		if got := clean(text, maxReason); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	hostile := strings.Replace((&record{Status: Status{PID: 1, Phase: "x"}}).encode(), "phase x", "phase \x1b[31m", 1)
	if r, err := parseRecord(hostile); err != nil || r.Phase != " [31m" {
		t.Errorf("phase %q, %v", r.Phase, err)
	}
}

func TestSlotsThatAreNotWhole(t *testing.T) {
	whole := encodeSlot(7, "pid 12\n")
	if n, text, ok := parseSlot(append(whole, make([]byte, 100)...)); !ok || n != 7 || text != "pid 12\n" {
		t.Fatalf("%d %q %t", n, text, ok)
	}
	for i := range whole {
		torn := append([]byte(nil), whole...)
		torn[i] ^= 1
		if n, text, ok := parseSlot(torn); ok {
			t.Errorf("byte %d is wrong: %d %q", i, n, text)
		}
		if _, _, ok := parseSlot(append(whole[:i:i], make([]byte, len(whole)-i)...)); ok {
			t.Errorf("%d bytes are written", i)
		}
		if _, _, ok := parseSlot(whole[:i]); ok {
			t.Errorf("the slot ends after %d bytes", i)
		}
	}
}

func TestRequestsThatAreNotWhole(t *testing.T) {
	whole := encodeRequest(idA)
	if id, ok := parseRequest(whole); !ok || id != idA {
		t.Fatalf("%q, %t", id, ok)
	}
	other := encodeRequest(idB)
	end := strings.IndexByte(string(whole), '\n') + 1
	for i := 1; i < end; i++ {
		for name, rest := range map[string][]byte{"nothing": make([]byte, requestSize), "another request": other} {
			torn := append(whole[:i:i], rest[i:]...)
			if id, ok := parseRequest(torn); ok && id != idA && id != idB {
				t.Errorf("%d bytes are written over %s: %q", i, name, id)
			}
		}
	}
	for name, b := range map[string][]byte{
		"empty": make([]byte, requestSize), "another word": []byte("deploy " + idA + " " + checksum("deploy ", idA) + "\n"),
		"no end": whole[:end-1], "no checksum": []byte(restart + idA + "\n"),
	} {
		if id, ok := parseRequest(b); ok {
			t.Errorf("%s: %q", name, id)
		}
	}
}

func TestFormatsOfHeaders(t *testing.T) {
	for text, want := range map[string]error{
		header:                  nil,
		header + "\x00\x00":     nil,
		headerStart + "2\n":     ErrFormat,
		headerStart + "1000\n":  ErrFormat,
		headerStart + "x\n":     ErrDamaged,
		headerStart + "1":       ErrDamaged,
		headerStart + "\x1b2\n": ErrDamaged,
		"":                      ErrDamaged,
		"something else\n":      ErrDamaged,
	} {
		if err := checkHeader([]byte(text)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	r := exampleRecord()
	f.Add(r.encode())
	f.Add("pid 1\nphase x\nlast a-b 1 2 \"\" \"\\x00\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRecord(text)
		if err != nil {
			return
		}
		again, err := parseRecord(r.encode())
		if err != nil || again.encode() != r.encode() {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}

func FuzzParseSlot(f *testing.F) {
	f.Add(encodeSlot(1, "pid 1\n"))
	f.Add(encodeRequest(idA))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, text, ok := parseSlot(b); ok && !strings.HasPrefix(string(b), string(encodeSlot(n, text))) {
			t.Errorf("%d %q", n, text)
		}
		if id, ok := parseRequest(b); ok && !isID(id) {
			t.Errorf("ID %q", id)
		}
		checkHeader(b)
	})
}
