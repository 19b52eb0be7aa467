package autorestart

import (
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestHandoverRoundTrip(t *testing.T) {
	for _, h := range []handover{
		{pid: 1},
		{pid: 1 << 22}, // the kernel's PID_MAX_LIMIT
		{pid: 42, inotify: []int{3}},
		{pid: 42, inotify: []int{7, 3, 1048575}},
		{pid: 42, inotify: []int{7, 3}, watches: []inotifyWatch{{7, 1}, {7, 0}, {3, 2147483639}}},
		{pid: 42, path: "/srv/app"},
		{pid: 42, inotify: []int{3}, path: "/srv/a,b=c,pid=43,path=/x \n\xff"},
	} {
		got, ok := parseHandover(h.String(), h.pid)
		if !ok || !reflect.DeepEqual(got, h) {
			t.Errorf("%q: got %+v, %t; want %+v", h.String(), got, ok, h)
		}
	}
}

func TestParseHandover(t *testing.T) {
	tests := []struct {
		value string
		want  []int
		ok    bool
	}{
		{"pid=42", nil, true},
		{"pid=42,inotify=3,inotify=4", []int{3, 4}, true},
		{"inotify=3,pid=42", []int{3}, true},
		{"pid=0042", nil, true},

		// From another version of this library.
		{"pid=42,listener=5", nil, true},
		{"pid=42,drain", nil, true},
		{"pid=42,future=x=y,inotify=9", []int{9}, true},
		{"pid=42,", nil, true},
		{"pid=42,,inotify=9", []int{9}, true},
		{"pid=42,PID=43", nil, true},

		// Never a standard stream.
		{"pid=42,inotify=0,inotify=1,inotify=2", nil, true},
		{"pid=42,inotify=2,inotify=3", []int{3}, true},

		// Meant for somebody else.
		{"", nil, false},
		{"inotify=3", nil, false},
		{"pid=43,inotify=3", nil, false},
		{"pid=4", nil, false},
		{"pid=420", nil, false},
		{"pid=0", nil, false},

		// Nonsense.
		{"pid", nil, false},
		{"pid=", nil, false},
		{"pid=-42", nil, false},
		{"pid=+42", nil, false},
		{"pid= 42", nil, false},
		{"pid=42 ", nil, false},
		{"pid=0x2a", nil, false},
		{"pid=42=42", nil, false},
		{"pid=٤٢", nil, false},
		{"pid=42\x00", nil, false},
		{"pid=42;inotify=3", nil, false},
		{"pid=42,inotify", nil, false},
		{"pid=42,inotify=", nil, false},
		{"pid=42,watch=3", nil, false},
		{"pid=42,watch=3/", nil, false},
		{"pid=42,watch=/3", nil, false},
		{"pid=42,watch=3/-1", nil, false},
		{"pid=42,watch=3/1/2", nil, false},
		{"pid=42,inotify=-1", nil, false},
		{"pid=42,inotify=3x", nil, false},
		{"pid=42,inotify=3,inotify=x", nil, false},
		{"pid=42,inotify=2147483648", nil, false},
		{"pid=42,inotify=18446744073709551619", nil, false}, // 3, were it cut to 64 bits
		{"pid=4294967338", nil, false},                      // 42, were it cut to 32 bits
		{"pid=" + strings.Repeat("9", 1000), nil, false},
	}
	for _, test := range tests {
		got, ok := parseHandover(test.value, 42)
		want := handover{}
		if test.ok {
			want = handover{pid: 42, inotify: test.want}
		}
		if ok != test.ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %t; want %+v, %t", test.value, got, ok, want, test.ok)
		}
	}
	for _, pid := range []int{0, -1} {
		if _, ok := parseHandover("pid="+strconv.Itoa(pid), pid); ok {
			t.Errorf("accepted for process %d", pid)
		}
	}
}

// TestParseHandoverPath: the path comes last and may contain anything.
func TestParseHandoverPath(t *testing.T) {
	for _, test := range []struct {
		value string
		want  string
		ok    bool
	}{
		{"pid=42,path=/srv/app", "/srv/app", true},
		{"pid=42,inotify=3,path=/srv/app,inotify=4", "/srv/app,inotify=4", true},
		{"pid=42,path=", "", true},
		{"pid=42,path=/a,path=/b", "/a,path=/b", true},
		{"pid=43,path=/srv/app", "", false},
		{"path=/srv/app,pid=42", "", true}, // no field of ours: it does not come last
		{",path=/srv/app,pid=42", "", false},
		{"pid=x,path=/srv/app", "", false},
	} {
		got, ok := parseHandover(test.value, 42)
		if ok != test.ok || got.path != test.want {
			t.Errorf("%q: got path %q, %t; want %q, %t", test.value, got.path, ok, test.want, test.ok)
		}
	}
}

func TestParseInt(t *testing.T) {
	for _, test := range []struct {
		s    string
		want int
		ok   bool
	}{
		{"0", 0, true},
		{"00", 0, true},
		{"9", 9, true},
		{"10", 10, true},
		{"2147483639", 2147483639, true},
		{"2147483648", 0, false},
		{"21474836470", 0, false},
		{"", 0, false},
		{"-0", 0, false},
		{"1e3", 0, false},
		{"1_000", 0, false},
	} {
		if n, ok := parseInt(test.s); ok != test.ok || ok && n != test.want {
			t.Errorf("%q: got %d, %t; want %d, %t", test.s, n, ok, test.want, test.ok)
		}
	}
}

// TestTakeHandover: the variable is taken out of the environment, whoever set
// it.
func TestTakeHandover(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		value string
		want  handover
	}{
		{"pid=" + own, handover{pid: os.Getpid()}},
		{"pid=" + own + ",inotify=1000", handover{pid: os.Getpid(), inotify: []int{1000}}},
		{"pid=" + own + "0,inotify=1000", handover{}},
		{"garbage", handover{}},
	} {
		t.Setenv(handoverEnv, test.value)
		if got := takeHandover(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: got %+v; want %+v", test.value, got, test.want)
		}
		if value, ok := os.LookupEnv(handoverEnv); ok {
			t.Errorf("%s=%s is left", handoverEnv, value)
		}
	}
	if got := takeHandover(); !reflect.DeepEqual(got, handover{}) {
		t.Errorf("without the variable: %+v", got)
	}
}

func FuzzParseHandover(f *testing.F) {
	f.Add("pid=42,inotify=3,inotify=4", 42)
	f.Add("pid=43,inotify=3", 42)
	f.Add("pid=42,pid=43,unknown=,inotify=2", 42)
	f.Add("pid=42,inotify=99999999999999999999", 42)
	f.Add(",,=,==", 1)
	f.Add("pid=42,inotify=3,path=/srv/a,path=b", 42)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, s string, pid int) {
		h, ok := parseHandover(s, pid)
		if !ok {
			if !reflect.DeepEqual(h, handover{}) {
				t.Errorf("%q was refused and left %+v", s, h)
			}
			return
		}
		if h.pid != pid || pid <= 0 || pid > math.MaxInt32 {
			t.Errorf("%q: process %d taken for %d", s, h.pid, pid)
		}
		if slices.ContainsFunc(h.inotify, func(fd int) bool { return fd <= 2 || fd > math.MaxInt32 }) {
			t.Errorf("%q: descriptors %v", s, h.inotify)
		}
		again, ok := parseHandover(h.String(), pid)
		if !ok || !reflect.DeepEqual(again, h) {
			t.Errorf("%q: %+v became %+v, %t", s, h, again, ok)
		}
	})
}
