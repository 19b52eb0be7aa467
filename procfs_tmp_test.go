//go:build !autorestart_portable

package autorestart

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestParseChildren(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []int
		ok   bool
	}{
		{"", nil, true},
		{"1 ", []int{1}, true},
		{"12 345 4194304 ", []int{12, 345, 4194304}, true},
		{"12 345", []int{12}, false}, // cut: 345 may have been meant to be 3456
		{"12  345 ", []int{12}, false},
		{"0 ", nil, false},
		{"-1 ", nil, false},
		{"12 x ", []int{12}, false},
		{"12\n", nil, false},
		{"12 \n", []int{12}, true},
		{"9999999999 ", nil, false},
		{"1\x002 ", nil, false},
	} {
		got, ok := parseChildren([]byte(tt.in), nil)
		if !slices.Equal(got, tt.want) || ok != tt.ok {
			t.Errorf("parseChildren(%q) = %v, %v; want %v, %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

// A kernel's line, up to the start time and on.
const statTail = " 4 12 11 0 -1 4194560 103 0 0 0 1 2 0 0 20 0 1 0 123456 2703360 224 18446744073709551615 1 1\n"

func TestParseStat(t *testing.T) {
	for _, tt := range []struct {
		in      string
		command string
		ok      bool
	}{
		{"42 (sleep) S" + statTail, "sleep", true},
		{"42 (a b) S" + statTail, "a b", true},
		{"42 () Z" + statTail, "", true},
		{"42 (a) S 1 (b) Z" + statTail, "a) S 1 (b", true},
		{"42 (a\nb) Z" + statTail, "a\nb", true},
		{"42 (\xff\xfe) Z" + statTail, "\xff\xfe", true},
		{"", "", false},
		{"42", "", false},
		{"42 (sleep", "", false},
		{"42 )sleep( S" + statTail, "", false},
		{"x (sleep) S" + statTail, "", false},
		{"(sleep) S" + statTail, "", false},
		{"42 (sleep)S" + statTail, "", false},
		{"42 (sleep) SS" + statTail, "", false},
		{"42 (sleep)", "", false},
		{"42 (sleep) S 4 12 11", "", false},
		{"42 (sleep) S 4 12 11 0 -1 4194560 103 0 0 0 1 2 0 0 20 0 1 0 1234", "", false}, // cut
		{"42 (sleep) S 4 12 -1 0 -1 4194560 103 0 0 0 1 2 0 0 20 0 1 0 1234 \n", "", false},
	} {
		got, ok := parseStat([]byte(tt.in))
		if ok != tt.ok {
			t.Errorf("parseStat(%q): %v, want %v", tt.in, ok, tt.ok)
		}
		if !ok {
			continue
		}
		if got.pid != 42 || string(got.command) != tt.command || got.parent != 4 || got.session != 11 || got.start != 123456 {
			t.Errorf("parseStat(%q) = %+v", tt.in, got)
		}
	}
}

func TestParseDirents(t *testing.T) {
	record := func(name string) []byte {
		b := make([]byte, (19+len(name)+1+7)&^7)
		*(*uint16)(unsafe.Pointer(&b[16])) = uint16(len(b))
		copy(b[19:], name)
		return b
	}
	b := slices.Concat(record("."), record(".."), record("1"), record("self"), record("4194304"), record("12x"))
	if got := parseDirents(b, nil); !slices.Equal(got, []int{1, 4194304}) {
		t.Errorf("parseDirents = %v", got)
	}
	for n := range b { // cut anywhere, it must come to an end
		parseDirents(b[:n], nil)
	}
	zero := make([]byte, 64)
	if got := parseDirents(zero, nil); got != nil {
		t.Errorf("parseDirents of zeros = %v", got)
	}
}

func TestParseArgs(t *testing.T) {
	for in, want := range map[string][]string{
		"":           nil,
		"a\x00":      {"a"},
		"a\x00\x00":  {"a", ""},
		"a\x00b c":   {"a", "b c"},
		"\x00":       {""},
		"nginx: x\n": {"nginx: x\n"},
	} {
		if got := parseArgs([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("parseArgs(%q) = %q, want %q", in, got, want)
		}
	}
}

// The readers agree with the kernel about this very process.
func TestReadSelf(t *testing.T) {
	self := os.Getpid()
	s, err := readStat(self, make([]byte, statSize))
	if err != nil {
		t.Fatal(err)
	}
	if s.pid != self || s.parent != os.Getppid() {
		t.Errorf("readStat: %+v", s)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil || string(s.command)+"\n" != string(comm) {
		t.Errorf("command %q, comm says %q, %v", s.command, comm, err)
	}
	if sid, _ := unix.Getsid(0); s.session != sid {
		t.Errorf("session %d, getsid says %d", s.session, sid)
	}
	if now := startTick(); s.start > now {
		t.Errorf("started at %d, after now, %d", s.start, now)
	}
	if age := time.Since(startTime(s.start)); age < -20*time.Millisecond || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
	if args, err := readArgs(self); err != nil || !slices.Equal(args, os.Args) {
		t.Errorf("readArgs = %q, %v; want %q", args, err, os.Args)
	}
	if !procIsOurs() {
		t.Error("/proc is not ours")
	}
	fds, err := readNumbered("/proc/self/fd")
	if err != nil || !slices.Contains(fds, 0) || !slices.Contains(fds, 2) {
		t.Errorf("descriptors: %v, %v", fds, err)
	}
	if _, err := readStat(1<<22, make([]byte, statSize)); !os.IsNotExist(err) {
		t.Errorf("readStat of a process that can't be: %v", err)
	}
}

func TestParsersDoNotAllocate(t *testing.T) {
	children := []byte(strings.Repeat("12345 ", 5000))
	pids := make([]int, 0, 5000)
	line := []byte("42 (sleep) S" + statTail)
	dirents := make([]byte, 4096)
	if n := testing.AllocsPerRun(10, func() {
		parseChildren(children, pids)
		parseStat(line)
		parseDirents(dirents, pids)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzChildren(f *testing.F) {
	for _, s := range []string{"", "1 ", "12 345 ", "12 345", "0 ", "99999999999 ", "1  2 "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pids, ok := parseChildren(b, nil)
		for _, pid := range pids {
			if pid <= 0 {
				t.Errorf("PID %d", pid)
			}
		}
		if !ok {
			return
		}
		// What is accepted is what those PIDs would be written as, but for
		// leading zeros and newlines.
		var again []byte
		for _, pid := range pids {
			again = strconv.AppendInt(again, int64(pid), 10)
			again = append(again, ' ')
		}
		if back, ok := parseChildren(again, nil); !ok || !slices.Equal(back, pids) {
			t.Errorf("%q: %v, and once more %v", b, pids, back)
		}
	})
}

func FuzzStat(f *testing.F) {
	for _, s := range []string{"", "42 (sleep) S" + statTail, "42 (a) b) S" + statTail, "42 (", "1 () Z 0"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := parseStat(b)
		if !ok {
			return
		}
		if s.pid < 0 || s.parent < 0 || s.session < 0 {
			t.Errorf("%q: %+v", b, s)
		}
		// A cut file must not be taken for a complete one: without the part after
		// the start time nothing is accepted.
		if end := strings.LastIndex(string(b), ")"); end >= 0 {
			fields := strings.Split(string(b[end+1:]), " ") // the first is empty
			if len(fields) < 21 {
				t.Errorf("accepted with %d fields: %q", len(fields), b)
			}
		}
	})
}
