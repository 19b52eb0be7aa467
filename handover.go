package autorestart

import (
	"math"
	"os"
	"strconv"
	"strings"
)

// handoverEnv names what one image tells the next. It is set for the exec alone
// and taken out of the environment before main runs, so that no child sees it.
// Its value is "pid=N", "inotify=FD" for each inotify descriptor that crossed the
// exec, and "path=PATH" if the exec was by descriptor, separated by commas. The
// path comes last and may contain anything.
const handoverEnv = "AUTORESTART_HANDOVER"

// handover is what crosses the exec beside arguments, environment and files.
type handover struct {
	pid     int
	inotify []int  // descriptors, owned by the image that parses this
	path    string // of the executable, where the kernel can't tell; or ""
}

func (h handover) String() string {
	b := append([]byte("pid="), strconv.Itoa(h.pid)...)
	for _, fd := range h.inotify {
		b = append(b, ",inotify="...)
		b = strconv.AppendInt(b, int64(fd), 10)
	}
	if h.path != "" {
		b = append(b, ",path="...)
		b = append(b, h.path...)
	}
	return string(b)
}

// parseHandover reports false for anything that the given process was not
// handed by its own earlier image: a child can have inherited the variable, and
// anyone can set it. Fields that it does not know are passed over, since the
// image before may have had another version of this library.
func parseHandover(s string, pid int) (h handover, ok bool) {
	s, h.path, _ = strings.Cut(s, ",path=")
	for field := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "pid", "inotify":
		default:
			continue
		}
		n, ok := parseInt(value)
		if !ok {
			return handover{}, false
		}
		if key == "pid" {
			h.pid = n
		} else if n > 2 { // never one of the standard streams
			h.inotify = append(h.inotify, n)
		}
	}
	if h.pid != pid || pid <= 0 {
		return handover{}, false // its descriptors are not ours
	}
	return h, true
}

// parseInt parses a non-negative decimal number that fits a C int.
func parseInt(s string) (n int, ok bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > (math.MaxInt32-9)/10 {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, s != ""
}

// inherited is what the image before this one, in this same process, left for
// it; restarted tells whether there was one.
var inherited, restarted = takeHandover()

func takeHandover() (handover, bool) {
	value, ok := os.LookupEnv(handoverEnv)
	if !ok {
		return handover{}, false
	}
	os.Unsetenv(handoverEnv)
	return parseHandover(value, os.Getpid())
}
