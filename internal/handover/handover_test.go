package handover

import (
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// of makes a State of numbers, each kind followed by its values, and texts.
func of(numbers map[NumberKind][]int, texts map[TextKind]string) (s State) {
	for kind, n := range numbers {
		s.Numbers[kind] = n
	}
	for kind, text := range texts {
		s.Texts[kind] = text
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	for _, h := range []State{
		of(map[NumberKind][]int{PID: {1}}, nil),
		of(map[NumberKind][]int{PID: {1 << 22}, Generation: {0}}, nil), // the kernel's PID_MAX_LIMIT
		of(map[NumberKind][]int{PID: {42}, Inotify: {7, 3, 1048575}, Watch: {7, 1, 7, 0, 3, 2147483639}}, nil),
		of(map[NumberKind][]int{PID: {42}, File: {3, 4}, Manifest: {5}, Previous: {6}, Dir: {7}, ReadyWithin: {30000}, Signal: {1, 10}}, nil),
		of(map[NumberKind][]int{PID: {42}, Inotify: {4, 3}, Watch: {1, 2, 3, 4}, File: {3, 4, 5, 7, 8, 10}, Manifest: {9}}, nil),
		of(map[NumberKind][]int{PID: {42}}, map[TextKind]string{
			Image: "1/2/3/", Times: "1/2", Failed: "x", Reason: "a,reason=3:b", Path: "/srv/a,b=c,pid=43,path=/x \n\xff",
		}),
	} {
		got, ignored := Parse(h.String(), h.Number(PID))
		if ignored != "" || !reflect.DeepEqual(got, h) {
			t.Errorf("%q: got %+v, %q; want %+v", h.String(), got, ignored, h)
		}
	}
}

func TestParse(t *testing.T) {
	const damaged, foreign = "it is cut or damaged", "it is for another process"
	const many = "it has more numbers than a process can have descriptors"
	for _, test := range []struct {
		value   string
		inotify []int
		ignored string
	}{
		{"pid=42,", nil, ""},
		{"pid=42,inotify=3,inotify=4,", []int{3, 4}, ""},
		{"inotify=3,pid=42,", []int{3}, ""},
		{"pid=0042,", nil, ""},

		// From another version of this library.
		{"pid=42,listener=5,", nil, ""},
		{"pid=42,future=x=y,inotify=9,", []int{9}, ""},
		{"pid=42,PID=43,", nil, ""},

		// For another process.
		{"", nil, foreign},
		{"inotify=3,", nil, foreign},
		{"pid=43,inotify=3,", nil, foreign},
		{"pid=4,", nil, foreign},
		{"pid=420,", nil, foreign},
		{"pid=0,", nil, foreign},

		// Cut.
		{"pid=42", nil, damaged},
		{"pid=42,inotify=3", nil, damaged},
		{"pid=42,inotify=", nil, damaged},
		{"pid=42,inotify", nil, damaged},
		{"pid=42,path=9:/srv/app", nil, damaged},
		{"pid=42,path=9:/srv/app,", nil, damaged},
		{"pid=42,path=9:", nil, damaged},
		{"pid=42,path=9", nil, damaged},

		// In a row.
		{"pid=42,inotify=3-5,inotify=7-7,", []int{3, 4, 5, 7}, ""},
		{"pid=42,inotify=5-4,", nil, damaged},
		{"pid=42,inotify=3-,", nil, damaged},
		{"pid=42,inotify=-3,", nil, damaged},
		{"pid=42,inotify=3-4", nil, damaged},
		{"pid=42,inotify=3-4-5,", nil, damaged},
		{"pid=42,inotify=2-3,", nil, damaged},
		{"pid=42,inotify=3-1048579,", nil, many},
		{"pid=42,inotify=3-2000000000,", nil, many},
		{"pid=42,ready=3-4,", nil, damaged},

		// Never a standard stream.
		{"pid=42,inotify=0,", nil, damaged},
		{"pid=42,inotify=2,", nil, damaged},

		// Nonsense.
		{"pid", nil, damaged},
		{"pid=-42,", nil, damaged},
		{"pid=+42,", nil, damaged},
		{"pid= 42,", nil, damaged},
		{"pid=42 ,", nil, damaged},
		{"pid=0x2a,", nil, damaged},
		{"pid=42=42,", nil, damaged},
		{"pid=٤٢,", nil, damaged},
		{"pid=42,inotify=2147483648,", nil, damaged},
		{"pid=42,inotify=18446744073709551619,", nil, damaged}, // 3, were it cut to 64 bits
		{"pid=4294967338,", nil, damaged},                      // 42, were it cut to 32 bits
		{"pid=" + strings.Repeat("9", 1000) + ",", nil, damaged},
		{"pid=42,path=-1:x,", nil, damaged},
		{"pid=42,path=2147483630:x,", nil, damaged},
	} {
		var want State
		if test.ignored == "" {
			want = of(map[NumberKind][]int{PID: {42}}, nil)
			want.Numbers[Inotify] = test.inotify
		}
		if got, ignored := Parse(test.value, 42); ignored != test.ignored || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %q; want %+v, %q", test.value, got, ignored, want, test.ignored)
		}
	}
	for _, pid := range []int{0, -1} {
		if _, ignored := Parse("pid="+strconv.Itoa(pid)+",", pid); ignored == "" {
			t.Errorf("accepted for process %d", pid)
		}
	}
}

func TestWhatVersionsKnow(t *testing.T) {
	for _, test := range []struct {
		version              string
		carrier, connections bool
	}{
		{"", true, true}, // as in a work tree
		{"(devel)", true, true},
		{"v0.1.0", true, true},
		{"v1.2.3-pre.0.20260101000000-0123456789ab", true, true},
		{"v0.0.0-2026", true, true}, // no pseudo-version
		{"v0.0.0-20261126150000-0123456789ab", true, true},
		{"v0.0.0-20261126145959-0123456789ab", true, false},
		{"v0.0.0-20261126110000-0123456789ab", true, false},
		{"v0.0.0-20261126105959-0123456789ab", false, false},
		{"v0.0.0-20260101000000-0123456789ab", false, false},
		{"v0.0.0-20260101000000-0123456789ab+dirty", false, false},
	} {
		if got := KnowsCarrier(test.version); got != test.carrier {
			t.Errorf("%q knows carriers: %t, want %t", test.version, got, test.carrier)
		}
		if got := KnowsConnections(test.version); got != test.connections {
			t.Errorf("%q knows all connections: %t, want %t", test.version, got, test.connections)
		}
	}
}

// TestFit: files are left out until the rest fits into a variable.
func TestFit(t *testing.T) {
	s := of(map[NumberKind][]int{PID: {42}, Manifest: {5}, Missing: {1}}, map[TextKind]string{Path: "/srv/app"})
	for fd := 10; len(s.Numbers[File]) < 20_000; fd += 2 {
		s.Numbers[File] = append(s.Numbers[File], fd)
	}
	all := len(s.Numbers[File])
	s.fit(maxVariable)
	if n := len(s.String()); n > maxVariable || n < maxVariable/2 {
		t.Errorf("%d bytes, at most %d", n, maxVariable)
	}
	if missing := s.Number(Missing); missing != 1+all-len(s.Numbers[File]) {
		t.Errorf("%d are missing, %d of %d files are left", missing, len(s.Numbers[File]), all)
	}
	fitting := s.String()
	if s.fit(maxVariable); s.String() != fitting {
		t.Error("what fits is changed")
	}
}

// TestFitLeavesOutExpendableFilesFirst: the first of them first, and no other file as long as
// one is left.
func TestFitLeavesOutExpendableFilesFirst(t *testing.T) {
	var s State
	for n := range 20_000 {
		fd := 10 + 2*n
		s.Numbers[File] = append(s.Numbers[File], fd)
		if n%4 != 0 {
			s.Expendable = append([]int{fd}, s.Expendable...) // the highest first
		}
	}
	all := len(s.Numbers[File])
	s.fit(maxVariable)
	kept := map[int]bool{}
	for _, fd := range s.Numbers[File] {
		kept[fd] = true
	}
	closed := s.Number(Closed)
	if closed == 0 || closed != all-len(kept) || s.Number(Missing) != 0 {
		t.Errorf("%d of %d files are left, %d are counted as closed, %d as missing", len(kept), all, closed, s.Number(Missing))
	}
	for i, fd := range s.Expendable {
		if kept[fd] != (i >= closed) {
			t.Fatalf("file %d, the %dth that is expendable, of which %d are closed: kept is %t", fd, i, closed, kept[fd])
		}
	}
}

// TestInherit: the variable is taken out of the environment, whoever set it.
func TestInherit(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		value string
		want  State
	}{
		{"pid=" + own + ",", of(map[NumberKind][]int{PID: {os.Getpid()}}, nil)},
		{"pid=" + own + ",inotify=1000,", of(map[NumberKind][]int{PID: {os.Getpid()}, Inotify: {1000}}, nil)},
		{"pid=" + own + "0,inotify=1000,", State{}},
		{"garbage", State{}},
	} {
		t.Setenv(Env, test.value)
		got, ignored := inherit()
		got.InVariable = false
		if !reflect.DeepEqual(got, test.want) || (ignored == "") != (got.Number(PID) != 0) {
			t.Errorf("%q: got %+v, %q; want %+v", test.value, got, ignored, test.want)
		}
		if value, ok := os.LookupEnv(Env); ok {
			t.Errorf("%s=%s is left", Env, value)
		}
	}
	if got, ignored := inherit(); ignored != "" || !reflect.DeepEqual(got, State{}) {
		t.Errorf("without the variable: %+v, %q", got, ignored)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("pid=42,inotify=3,inotify=4,", 42)
	f.Add("pid=43,inotify=3,", 42)
	f.Add("pid=42,pid=43,unknown=,inotify=2,", 42)
	f.Add(",,=,==", 1)
	f.Add("pid=42,inotify=3,path=13:/srv/a,path=b,", 42)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, s string, pid int) {
		h, ignored := Parse(s, pid)
		if ignored != "" {
			if !reflect.DeepEqual(h, State{}) {
				t.Errorf("%q was refused and left %+v", s, h)
			}
			return
		}
		if h.Number(PID) != pid || pid <= 0 || pid > math.MaxInt32 {
			t.Errorf("%q: process %d taken for %d", s, h.Number(PID), pid)
		}
		for kind := Inotify; kind < numNumbers; kind++ {
			for _, fd := range h.Numbers[kind] {
				if fd <= 2 || fd > math.MaxInt32 {
					t.Errorf("%q: descriptor %d", s, fd)
				}
			}
		}
		again, ignored := Parse(h.String(), pid)
		if ignored != "" || !reflect.DeepEqual(again, h) {
			t.Errorf("%q: %+v became %+v, %q", s, h, again, ignored)
		}
	})
}

// TestGoldenFiles: what crosses the exec is what other versions of this library
// write and read. A golden file is never changed; a new form gets a new file.
func TestGoldenFiles(t *testing.T) {
	want := of(map[NumberKind][]int{
		PID: {4711}, Generation: {3}, Signal: {1, 10}, ReadyWithin: {30000}, Watch: {7, 1, 7, 2}, Inotify: {7},
		File: {8, 9, 10, 12}, Manifest: {13}, Previous: {14}, Dir: {15},
	}, map[TextKind]string{
		Image:  "fd00/1a2b/25a0c0/17c0ffee12345678/",
		Times:  "1/2/3/4/5/",
		Failed: "fd00/1a2b/25a0c0/17c0ffee00000000/",
		Reason: "main panicked: no config, path=/etc/app",
		Path:   "/srv/releases/current/app",
	})
	second := want
	second.Set(Missing, 2)
	second.Set(Executable, 16)
	second.Texts[Content] = "YXV0b3Jlc3RhcnQgbWFuaWZlc3QgMQplAAA"
	third := second
	third.Set(Connections, 1)
	fourth := third
	fourth.Set(OpenFiles, 2000)
	fourth.Numbers[IgnoredAtStart] = []int{1, 2}
	fifth := fourth
	fifth.Texts[Original] = "2a/1a2b/25a0c0/17c0ffee12345678/"
	sixth := fifth
	sixth.Set(HealthWithin, 60000)
	sixth.Texts[PreviousArgs] = ";/srv/app;-listen=:80%1:81;;"
	sixth.Texts[PreviousEnv] = ";PATH=/bin;A=%0%2;"
	seventh := sixth // with stand-ins
	seventh.Numbers[StandInPID] = []int{4712, 4713}
	seventh.Set(Beside, 1)
	seventh.Numbers[StandIns] = []int{20, 21, 25, 24}
	seventh.Texts[StandIn] = "2/10000/1764259200123;1/10000/0"
	eighth := want // of a stand-in
	eighth.Set(Channel, 20)
	eighth.Numbers[Streams] = []int{21, 22}
	ninth := want
	ninth.Set(Status, 23)
	for _, test := range []struct {
		name    string
		written bool // by this version
		want    State
	}{
		{"state-1.golden", true, want},
		{"state-2.golden", true, second}, // in a carrier
		{"state-3.golden", true, third},
		{"state-4.golden", true, fourth},
		{"state-5.golden", true, fifth},
		{"state-6.golden", true, sixth},
		{"state-7.golden", true, seventh},
		{"state-8.golden", true, eighth},
		{"state-9.golden", true, ninth},
		{"state-later.golden", false, want}, // with keys that this version does not know
		{"variable-2.golden", true, of(map[NumberKind][]int{PID: {4711}, Generation: {3}, Carrier: {17}, Attester: {18}}, nil)},
		{"variable-3.golden", true, of(map[NumberKind][]int{PID: {4711}, Generation: {3}, Channel: {20}, Carrier: {17}}, nil)}, // of a stand-in
	} {
		want := test.want
		b, err := os.ReadFile("testdata/" + test.name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSuffix(string(b), "\n")
		got, ignored := Parse(text, 4711)
		if ignored != "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v, %q; want %+v", test.name, got, ignored, want)
		}
		if test.written && want.String() != text {
			t.Errorf("%s: this version writes\n%s\nwant\n%s", test.name, want.String(), text)
		}
	}
}
