package handover

import (
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// of makes a Handover of numbers, each kind followed by its values, and texts.
func of(numbers map[int][]int, texts map[int]string) (h Handover) {
	for kind, n := range numbers {
		h.Numbers[kind] = n
	}
	for kind, text := range texts {
		h.Texts[kind] = text
	}
	return h
}

func TestRoundTrip(t *testing.T) {
	for _, h := range []Handover{
		of(map[int][]int{PID: {1}}, nil),
		of(map[int][]int{PID: {1 << 22}, Generation: {0}}, nil), // the kernel's PID_MAX_LIMIT
		of(map[int][]int{PID: {42}, Inotify: {7, 3, 1048575}, Watch: {7, 1, 7, 0, 3, 2147483639}}, nil),
		of(map[int][]int{PID: {42}, File: {3, 4}, Manifest: {5}, Previous: {6}, Dir: {7}, ReadyWithin: {30000}, Signal: {1, 10}}, nil),
		of(map[int][]int{PID: {42}, Inotify: {4, 3}, Watch: {1, 2, 3, 4}, File: {3, 4, 5, 7, 8, 10}, Manifest: {9}}, nil),
		of(map[int][]int{PID: {42}}, map[int]string{
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

		// Meant for somebody else.
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
		{"pid=42,inotify=3-2000000000,", nil, damaged},
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
		var want Handover
		if test.ignored == "" {
			want = of(map[int][]int{PID: {42}}, nil)
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

// TestTake: the variable is taken out of the environment, whoever set it.
func TestTake(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		value string
		want  Handover
	}{
		{"pid=" + own + ",", of(map[int][]int{PID: {os.Getpid()}}, nil)},
		{"pid=" + own + ",inotify=1000,", of(map[int][]int{PID: {os.Getpid()}, Inotify: {1000}}, nil)},
		{"pid=" + own + "0,inotify=1000,", Handover{}},
		{"garbage", Handover{}},
	} {
		t.Setenv(Env, test.value)
		got, ignored := take()
		if !reflect.DeepEqual(got, test.want) || (ignored == "") != (got.Number(PID) != 0) {
			t.Errorf("%q: got %+v, %q; want %+v", test.value, got, ignored, test.want)
		}
		if value, ok := os.LookupEnv(Env); ok {
			t.Errorf("%s=%s is left", Env, value)
		}
	}
	if got, ignored := take(); ignored != "" || !reflect.DeepEqual(got, Handover{}) {
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
			if !reflect.DeepEqual(h, Handover{}) {
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
