// Package handover is what one image of a process tells the next, and the way
// back to the one before.
//
// A version that is to be taken back may hang before its main, in the
// initialisation of a package. So this one has to be initialised before almost
// every other, and packages are in the order of their paths, each after its
// imports. All that it imports comes before package os; package strings would not.
package handover

import (
	"math"
	"strconv"
	"syscall"
)

// Env names the variable that a [Handover] crosses the exec in. It is set for the
// exec alone and taken out of the environment before main runs, so that no child
// sees it.
const Env = "AUTORESTART_HANDOVER"

// Handover is what crosses the exec beside arguments, environment and files. Its
// descriptors are owned by the image that takes it.
type Handover struct {
	Numbers [numNumbers][]int // most have one at most
	Texts   [numTexts]string

	// What does not cross: descriptors that are of no use unless there is an exec, and
	// what has the signals ignored for the exec, if anything has.
	Temporary []int
	Quieten   func(signals []int) (undo func())
}

// Numbers.
const (
	PID         = iota
	Generation  // of the image that is executed; 0 is the first
	Signal      // each is ignored until somebody subscribes
	ReadyWithin // ms after its start, or Previous is executed again

	Watch    // of inotify: a descriptor and a watch descriptor, in turns
	Inotify  // from here on, descriptors
	File     // what the program passes on; the names are in Manifest
	Manifest // of names and states
	Previous // the image that is known to work
	Dir      // the working directory to go back to

	numNumbers
)

// Texts. They may contain anything.
const (
	Image  = iota // which file is executed, as the root package formats it
	Times         // of this restart, likewise
	Failed        // which file was executed and taken back
	Reason        // why it was
	Path          // of the executable, where the kernel can't tell

	numTexts
)

var (
	numberKeys = [numNumbers]string{
		"pid", "generation", "signal", "ready", "watch", "inotify", "file", "manifest", "previous", "dir",
	}
	textKeys = [numTexts]string{"image", "times", "failed", "reason", "path"}
)

// Number returns the one number of its kind, or 0. As other functions here, it is
// not inlined, which would add to every program.
//
//go:noinline
func (h *Handover) Number(kind int) int {
	if len(h.Numbers[kind]) == 0 {
		return 0
	}
	return h.Numbers[kind][0]
}

// Set makes n the one number of its kind.
//
//go:noinline
func (h *Handover) Set(kind, n int) { h.Numbers[kind] = []int{n} }

// Taken is what the image before this one, in this same process, left for it; its
// PID is 0 if there was none. Ignored says why what was found in the environment
// was not taken.
var Taken, Ignored = take()

func take() (h Handover, ignored string) {
	value, ok := syscall.Getenv(Env)
	if !ok {
		return Handover{}, ""
	}
	syscall.Unsetenv(Env)
	if Elevated() {
		return Handover{}, "this process has other rights than who started it"
	}
	h, ignored = Parse(value, syscall.Getpid())
	if ignored == "" {
		h.KeepFromChildren()
		h.startProbation()
	}
	return h, ignored
}

// Elevated reports whether this process has another user's rights, as by setuid.
// Then anybody can have set the variable, and what it says to execute would have
// those rights. File capabilities are no such danger: an exec takes them away.
func Elevated() bool {
	return syscall.Getuid() != syscall.Geteuid() || syscall.Getgid() != syscall.Getegid()
}

// KeepFromChildren makes the descriptors close-on-exec. Those of inotify have an
// owner who does.
func (h *Handover) KeepFromChildren() {
	for _, fds := range h.Numbers[File:] {
		for _, fd := range fds {
			closeOnExec(fd)
		}
	}
}

// Execute executes target, with h if that is not nil. It returns only if that
// failed; then the caller has the descriptors of inotify to make close-on-exec
// again. It is also the caller who keeps forks away: no child may have what is
// about to cross.
func Execute(target string, args, env []string, h *Handover) error {
	if h == nil {
		return syscall.Exec(target, args, env)
	}
	for _, fds := range h.Numbers[Inotify:] {
		for _, fd := range fds {
			keepOnExec(fd)
		}
	}
	err := syscall.Exec(target, args, append(env, Env+"="+h.String()))
	h.KeepFromChildren()
	return err
}

// maxRun is how many descriptors in a row Parse takes for possible.
const maxRun = 1 << 20

// String returns what [Parse] parses: fields, as key=value, separated by commas. A
// text has its length and a colon before it. Descriptors in a row are one field, as
// file=10-19: execve(2) takes no variable of more than 128 KiB, and there may be tens
// of thousands, most of which are in a row if they are sorted.
func (h *Handover) String() string {
	var b []byte
	for kind, numbers := range &h.Numbers {
		for len(numbers) > 0 {
			n, run := numbers[0], 1
			for kind >= Inotify && run < len(numbers) && numbers[run] == n+run {
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
	for kind, text := range &h.Texts {
		if text != "" {
			b = append(b, textKeys[kind]+"="+strconv.Itoa(len(text))+":"+text+","...)
		}
	}
	return string(b)
}

// Parse says why it takes nothing: a child can have inherited the variable, and
// anyone can set it. Fields that it does not know are passed over, since the image
// before may have had another version of this library.
func Parse(s string, pid int) (h Handover, ignored string) {
	const damaged = "it is cut or damaged"
	for s != "" {
		key, value, ok := cut(s, '=')
		n, rest, isNumber := leadingInt(value)
		kind, text := index(numberKeys[:], key), index(textKeys[:], key)
		switch {
		case !ok:
			return Handover{}, damaged
		case text >= 0:
			if !isNumber || len(rest) < n+2 || rest[0] != ':' || rest[n+1] != ',' {
				return Handover{}, damaged
			}
			h.Texts[text] = rest[1 : n+1]
			s = rest[n+2:]
			continue
		case kind >= 0:
			last := n
			if isNumber && kind >= Inotify && rest != "" && rest[0] == '-' {
				last, rest, isNumber = leadingInt(rest[1:])
			}
			// Never one of the standard streams, nor more than a process can have.
			if !isNumber || rest == "" || rest[0] != ',' || kind >= Inotify && n <= 2 || last < n || last-n > maxRun {
				return Handover{}, damaged
			}
			for ; n <= last; n++ {
				h.Numbers[kind] = append(h.Numbers[kind], n)
			}
		}
		if _, s, ok = cut(value, ','); !ok {
			return Handover{}, damaged
		}
	}
	if h.Number(PID) != pid || pid <= 0 {
		return Handover{}, "it is for another process"
	}
	return h, ""
}

//go:noinline
func index(keys []string, key string) int {
	for i, k := range keys {
		if k == key {
			return i
		}
	}
	return -1
}

// cut is [strings.Cut].
//
//go:noinline
func cut(s string, separator byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == separator {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// leadingInt parses a non-negative decimal number that fits a C int.
//
//go:noinline
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
