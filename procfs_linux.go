//go:build !autorestart_portable

package autorestart

import (
	"io"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Parsers and readers of proc(5). No policy: which of the answers to believe,
// and what to do without one, is decided in children_linux.go.

// parseChildren appends the PIDs of a /proc/PID/task/TID/children file to pids.
// The kernel ends every number with a space; a file that does not is cut, and
// what its last number was meant to be can't be known. For such a file, and for
// anything else than positive numbers, it reports false.
func parseChildren(b []byte, pids []int) ([]int, bool) {
	n, digits := 0, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9' && digits < 9:
			n = n*10 + int(c-'0')
			digits++
		case c == ' ' && n > 0:
			pids = append(pids, n)
			n, digits = 0, 0
		case c == '\n' && digits == 0: // not from Linux; harmless
		default:
			return pids, false
		}
	}
	return pids, digits == 0
}

// stat is what we use of /proc/PID/stat.
type stat struct {
	pid     int
	command []byte // at most 15 bytes, any but NUL; aliases the input
	state   byte   // R, S, D, T (stopped), t (stopped by a tracer), Z, …
	parent  int
	session int
	start   uint64 // clock ticks after boot, see startTick
}

// parseStat parses a /proc/PID/stat file. The command may contain spaces,
// newlines and parentheses, so it ends at the last parenthesis of the file.
func parseStat(b []byte) (s stat, ok bool) {
	open, end := -1, -1
	for i, c := range b {
		if c == '(' && open < 0 {
			open = i
		}
		if c == ')' {
			end = i
		}
	}
	if open < 1 || end < open || b[open-1] != ' ' {
		return stat{}, false
	}
	pid, ok := parseDecimal(b[:open-1])
	if !ok {
		return stat{}, false
	}
	s.pid = int(pid)
	s.command = b[open+1 : end]

	rest := b[end+1:]
	for field := 3; field <= 22; field++ {
		if len(rest) == 0 || rest[0] != ' ' {
			return stat{}, false
		}
		rest = rest[1:]
		n := 0
		for n < len(rest) && rest[n] != ' ' && rest[n] != '\n' {
			n++
		}
		if n == 0 {
			return stat{}, false
		}
		word := rest[:n]
		rest = rest[n:]

		var v uint64
		switch field {
		case 3:
			if len(word) != 1 {
				return stat{}, false
			}
			s.state = word[0]
			continue
		case 4, 6, 22:
			if v, ok = parseDecimal(word); !ok {
				return stat{}, false
			}
		}
		switch field {
		case 4:
			s.parent = int(v)
		case 6:
			s.session = int(v)
		case 22:
			s.start = v
		}
	}
	// The kernel ends the file with a newline, and what follows the start time
	// with a space: a start time that ends with the file is cut.
	return s, len(rest) > 0
}

// parseDecimal takes up to 18 digits and nothing else.
func parseDecimal(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// userHZ is the unit of times in /proc/PID/stat, whatever the kernel's own HZ:
// 100 on every architecture that Go runs on.
const userHZ = 100

// startTick is the clock by which stat.start is counted.
func startTick() uint64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return uint64(t.Nano()) / (1e9 / userHZ)
}

// startTime turns a stat.start into wall clock time, exact to a tick.
func startTime(ticks uint64) time.Time {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Time{}
	}
	age := time.Duration(t.Nano()) - time.Duration(ticks)*(time.Second/userHZ)
	return time.Now().Add(-age).Round(0)
}

// procPath builds /proc/PID/NAME in buf, NUL-free and without a heap allocation
// as long as buf is large enough.
func procPath(buf []byte, pid int, name string) string {
	buf = append(buf[:0], "/proc/"...)
	buf = strconv.AppendInt(buf, int64(pid), 10)
	buf = append(buf, '/')
	buf = append(buf, name...)
	return string(buf)
}

// readSmall reads the file into buf and returns what there is of it, at most
// cap(buf) bytes. The files that it is for are made in one piece by one read.
func readSmall(path string, buf []byte) ([]byte, error) {
	return readProc(path, buf[:0], false)
}

// readAll appends the whole file to buf.
func readAll(path string, buf []byte) ([]byte, error) {
	return readProc(path, buf, true)
}

// readProc reads without Go's poller, which has nothing to wait for in /proc. Nor
// has a signal anything to interrupt. The calls are those of package syscall, which
// every program has.
func readProc(path string, buf []byte, whole bool) ([]byte, error) {
	fd, err := openProc(path)
	if err != nil {
		return buf, err
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := syscall.Read(fd, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+max(n, 0)]
		if n <= 0 || !whole {
			syscall.Close(fd)
			return buf, pathError("read", path, err)
		}
	}
}

func openProc(path string) (int, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOCTTY, 0)
	return fd, pathError("open", path, err)
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// readStat reads and parses /proc/PID/stat. Its command aliases buf, which
// should have statSize bytes.
func readStat(pid int, buf []byte) (stat, error) {
	var name [32]byte
	path := procPath(name[:], pid, "stat")
	b, err := readSmall(path, buf)
	if err != nil {
		return stat{}, err
	}
	s, ok := parseStat(b)
	if !ok || s.pid != pid {
		return stat{}, &os.PathError{Op: "parse", Path: path, Err: io.ErrUnexpectedEOF}
	}
	return s, nil
}

// statSize holds a stat file up to the field that we need, the 22nd, even if
// every number before it is as long as it can get.
const statSize = 512

// readChildren returns the children that a task of this process has made or,
// for the leader of a process that has just been executed, all of them. The
// list is exact only if no child is waited for meanwhile. It needs Linux 3.5
// and CONFIG_PROC_CHILDREN.
func readChildren(task int) ([]int, error) {
	path := childrenPath(task)
	var page [4096]byte // one read returns a page at most
	b, err := readAll(path, page[:0])
	if err != nil {
		return nil, err
	}
	pids, ok := parseChildren(b, nil)
	if !ok {
		return nil, &os.PathError{Op: "parse", Path: path, Err: io.ErrUnexpectedEOF}
	}
	return pids, nil
}

// firstChildren is readChildren for those that come first: as many as one read
// returns, some 500 at least if there are more.
func firstChildren(task int) ([]int, error) {
	var page [4096]byte
	b, err := readSmall(childrenPath(task), page[:])
	if err != nil {
		return nil, err
	}
	for len(b) > 0 && b[len(b)-1] != ' ' { // cut within a number by larger pages
		b = b[:len(b)-1]
	}
	pids, _ := parseChildren(b, nil)
	return pids, nil
}

func childrenPath(task int) string {
	var name [64]byte
	path := append(name[:0], "/proc/self/task/"...)
	path = strconv.AppendInt(path, int64(task), 10)
	return string(append(path, "/children"...))
}

// readNumbered lists the entries of a directory that are numbers: the processes
// of /proc, the threads of /proc/self/task, the descriptors of /proc/self/fd.
func readNumbered(path string) (numbers []int, err error) {
	fd, err := openProc(path)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := syscall.ReadDirent(fd, buf)
		if n <= 0 {
			syscall.Close(fd)
			return numbers, pathError("readdirent", path, err)
		}
		numbers = parseDirents(buf[:n], numbers)
	}
}

// parseDirents appends the names that are numbers. A record, by getdents64(2),
// is: inode and offset of eight bytes each, length of the record in two, type in
// one, name, NUL.
func parseDirents(b []byte, numbers []int) []int {
	const lengthAt, nameAt = 16, 19
	for len(b) > nameAt {
		length := int(*(*uint16)(unsafe.Pointer(&b[lengthAt])))
		if length <= nameAt || length > len(b) {
			return numbers
		}
		name := b[nameAt:length]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		if n, ok := parseDecimal(name); ok && n < 1<<31 {
			numbers = append(numbers, int(n))
		}
		b = b[length:]
	}
	return numbers
}

// readArgs returns the command line of a process; none for a zombie and for one
// that has overwritten it.
func readArgs(pid int) ([]string, error) {
	var name [32]byte
	b, err := readAll(procPath(name[:], pid, "cmdline"), make([]byte, 0, 512))
	if err != nil {
		return nil, err
	}
	return parseArgs(b), nil
}

// parseArgs splits a cmdline file: each argument, the empty ones too, ends with
// NUL. A process that has overwritten its arguments may have left the last NUL out.
func parseArgs(b []byte) []string {
	var args []string
	start := 0
	for i, c := range b {
		if c == 0 {
			args = append(args, string(b[start:i]))
			start = i + 1
		}
	}
	if start < len(b) {
		args = append(args, string(b[start:]))
	}
	return args
}

// procIsOurs reports whether /proc is there and counts PIDs as we do: one
// mounted for another PID namespace shows us under another number, or not at all.
func procIsOurs() bool {
	var buf [16]byte
	n, err := syscall.Readlink("/proc/self", buf[:])
	if err != nil || n <= 0 {
		return false
	}
	pid, ok := parseDecimal(buf[:n])
	return ok && int(pid) == unix.Getpid()
}

// parseFDSize finds the size of the table of descriptors in a /proc/PID/status
// file: no open descriptor has a number as high.
func parseFDSize(b []byte) (int, bool) {
	const key = "\nFDSize:\t"
	for i := 0; i+len(key) < len(b); i++ {
		if string(b[i:i+len(key)]) != key {
			continue
		}
		b = b[i+len(key):]
		for n, c := range b {
			if c == '\n' {
				size, ok := parseDecimal(b[:n])
				return int(size), ok && size < 1<<31
			}
		}
		break
	}
	return 0, false
}

// earliestThread returns the oldest thread of this process but the main one, which
// is as old as the process, and when it was started.
func earliestThread() (ticks uint64, thread int, ok bool) {
	self := unix.Getpid()
	tasks, err := readNumbered("/proc/self/task") // in the order of their making
	if err != nil || !procIsOurs() {
		return 0, 0, false
	}
	var path [64]byte
	var buf [statSize]byte
	for _, tid := range tasks {
		if tid == self {
			continue
		}
		name := append(path[:0], "/proc/self/task/"...)
		name = strconv.AppendInt(name, int64(tid), 10)
		name = append(name, "/stat"...)
		b, err := readSmall(string(name), buf[:])
		if err != nil {
			continue
		}
		if s, valid := parseStat(b); valid && s.pid == tid && (!ok || s.start < ticks) {
			ticks, thread, ok = s.start, tid, true
		}
	}
	return ticks, thread, ok
}
