package autorestart

import (
	"math"
	"os"
	"strconv"
	"strings"
)

// handoverEnv names what one image tells the next. It is set for the exec alone
// and taken out of the environment before main runs, so that no child sees it.
// Its value are the fields of [handover], as key=value, separated by commas. The
// path comes last and may contain anything.
const handoverEnv = "AUTORESTART_HANDOVER"

// handover is what crosses the exec beside arguments, environment and files.
type handover struct {
	pid     int
	inotify []int          // descriptors, owned by the image that parses this
	watches []inotifyWatch // what they watch
	image   string         // which file was executed, where the kernel can't tell; or ""
	path    string         // of the executable, where the kernel can't tell; or ""
}

// inotifyWatch is a watch descriptor of an inotify descriptor.
type inotifyWatch struct{ fd, wd int }

func (h handover) String() string {
	s := "pid=" + strconv.Itoa(h.pid)
	for _, fd := range h.inotify {
		s += ",inotify=" + strconv.Itoa(fd)
	}
	for _, w := range h.watches {
		s += ",watch=" + strconv.Itoa(w.fd) + "/" + strconv.Itoa(w.wd)
	}
	if h.image != "" {
		s += ",image=" + h.image
	}
	if h.path != "" {
		s += ",path=" + h.path
	}
	return s
}

// parseHandover reports false for anything that the given process was not
// handed by its own earlier image: a child can have inherited the variable, and
// anyone can set it. Fields that it does not know are passed over, since the
// image before may have had another version of this library.
func parseHandover(s string, pid int) (h handover, ok bool) {
	s, h.path, _ = strings.Cut(s, ",path=")
	for s != "" {
		var field string
		field, s, _ = strings.Cut(s, ",")
		key, value, _ := strings.Cut(field, "=")
		var watch string
		switch key {
		case "image":
			h.image = value
			continue
		case "pid", "inotify":
		case "watch":
			value, watch, _ = strings.Cut(value, "/")
		default:
			continue
		}
		n, ok := parseInt(value)
		if !ok {
			return handover{}, false
		}
		switch {
		case key == "pid":
			h.pid = n
		case n <= 2: // never one of the standard streams
		case key == "inotify":
			h.inotify = append(h.inotify, n)
		default:
			wd, ok := parseInt(watch)
			if !ok {
				return handover{}, false
			}
			h.watches = append(h.watches, inotifyWatch{n, wd})
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
// it; its pid is 0 if there was none.
var inherited = takeHandover()

func takeHandover() handover {
	value, ok := os.LookupEnv(handoverEnv)
	if !ok {
		return handover{}
	}
	os.Unsetenv(handoverEnv)
	h, _ := parseHandover(value, os.Getpid())
	return h
}
