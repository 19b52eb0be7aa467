package handover

import (
	"math"
	"strconv"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// The text form of a [State]: fields, as key=value, each followed by a comma. A text
// has its length and a colon before it. Descriptors in a row are one field, as
// file=10-19: there may be tens of thousands, most of which are in a row if they are sorted.

var (
	numberKeys = [numNumbers]string{
		"pid", "generation", "signal", "ready", "missing", "taint", "closed", "lines", "connections", "nofile", "ignored", "stand-in-pid", "beside", "health",
		"watch", "inotify", "file", "manifest", "previous", "dir", "channel", "stand-in", "streams", "status", "executable", "carrier", "attester",
	}
	textKeys = [numTexts]string{"image", "times", "failed", "reason", "path", "content", "original", "args", "env", "observed", "stand-ins"}
)

// maxNumbers is how many numbers Parse accepts: more than a process has descriptors, by
// fs.nr_open in proc(5). A short text must not become gigabytes.
const maxNumbers = 1 << 20

// String returns what [Parse] parses.
func (s *State) String() string {
	var b []byte
	for kind, numbers := range &s.Numbers {
		for len(numbers) > 0 {
			n, run := numbers[0], 1
			for NumberKind(kind) >= Inotify && run < len(numbers) && numbers[run] == n+run {
				run++
			}
			last := ""
			if run > 1 {
				last = "-" + strconv.Itoa(n+run-1)
			}
			b = append(b, numberKeys[kind]+"="+strconv.Itoa(n)+last+","...)
			numbers = numbers[run:]
		}
	}
	for kind, text := range &s.Texts {
		if text != "" {
			b = append(b, textKeys[kind]+"="+strconv.Itoa(len(text))+":"+text+","...)
		}
	}
	return string(b)
}

// Parse says why it takes nothing: a child can have inherited the variable, and
// anyone can set it. Keys that it does not know are passed over.
func Parse(text string, pid int) (s State, ignored string) {
	const damaged = "it is cut or damaged"
	total := 0
	for text != "" {
		key, value, ok := rawsys.Cut(text, '=')
		n, rest, isNumber := leadingInt(value)
		number, textKind := index(numberKeys[:], key), index(textKeys[:], key)
		switch {
		case !ok:
			return State{}, damaged
		case textKind >= 0:
			if !isNumber || len(rest) < n+2 || rest[0] != ':' || rest[n+1] != ',' {
				return State{}, damaged
			}
			s.Texts[textKind] = rest[1 : n+1]
			text = rest[n+2:]
			continue
		case number >= 0:
			last, descriptors := n, NumberKind(number) >= Inotify
			if isNumber && descriptors && rest != "" && rest[0] == '-' {
				last, rest, isNumber = leadingInt(rest[1:])
			}
			// A standard stream never crosses.
			if !isNumber || rest == "" || rest[0] != ',' || descriptors && n <= 2 || last < n {
				return State{}, damaged
			}
			if total += last - n + 1; total > maxNumbers {
				return State{}, "it has more numbers than a process can have descriptors"
			}
			for ; n <= last; n++ {
				s.Numbers[number] = append(s.Numbers[number], n)
			}
		}
		if _, text, ok = rawsys.Cut(value, ','); !ok {
			return State{}, damaged
		}
	}
	if s.Number(PID) != pid || pid <= 0 {
		return State{}, "it is for another process"
	}
	return s, ""
}

func index(keys []string, key string) int {
	for i, k := range keys {
		if k == key {
			return i
		}
	}
	return -1
}

// leadingInt parses a non-negative decimal number that fits a C int.
func leadingInt(s string) (n int, rest string, ok bool) {
	i := 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		if n > (math.MaxInt32-9)/10 {
			return 0, "", false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, s[i:], i > 0
}
