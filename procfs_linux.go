//go:build !autorestart_portable

// Processes, as proc(5) shows them.
//
//	file                        since             without it
//	/proc/PID/stat              ever              no names and no start times
//	/proc/PID/cmdline           ever              no arguments
//	/proc/PID/task/TID/children 3.5, and with     children are looked for among all processes
//	                            CONFIG_PROC_CHILDREN
//	/proc/PID/status: FDSize    ever              descriptors are looked for up to the limit
//	/proc of all users, without ever              children are looked for among all PIDs, if there
//	hidepid                                       is no children file
//
// Which of the answers to believe is decided in package internal/reap.

package autorestart

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/reap"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// OwnNumbers reports whether /proc is there and counts PIDs as this process does: one
// mounted for another PID namespace shows this process under another number, or not
// at all.
func (*childTable) OwnNumbers() bool {
	var buf [16]byte
	n, err := syscall.Readlink("/proc/self", buf[:])
	if err != nil || n <= 0 {
		return false
	}
	pid, ok := sys.ParseDecimal(buf[:n])
	return ok && int(pid) == unix.Getpid()
}

// Stat reads /proc/PID/stat.
func (*childTable) Stat(pid int) (reap.Stat, error) {
	var buf [statSize]byte
	s, err := readStat(procPath(pid, "stat"), pid, buf[:])
	if err != nil {
		return reap.Stat{}, err
	}
	return reap.Stat{Command: string(s.command), State: s.state, Parent: s.parent, Session: s.session, Start: s.start}, nil
}

// CPUTime reads CLOCK_THREAD_CPUTIME_ID. It is the one question about the calling thread.
func (*childTable) CPUTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return reap.Unsupported{}.CPUTime()
	}
	return time.Duration(t.Nano())
}

// Args reads the beginning of /proc/PID/cmdline. There are none for a process that has
// overwritten them.
func (*childTable) Args(pid int) ([]string, error) {
	b, err := sys.ReadAll(procPath(pid, "cmdline"), make([]byte, 0, 512), maxArgsSize)
	if err != nil {
		return nil, err
	}
	return parseArgs(b), nil
}

// PIDs lists /proc, unless a mount option of proc(5) may hide the processes of other users. The
// option of another mount of proc does no harm: the list is then made in another way.
func (*childTable) PIDs() ([]int, error) {
	if mounts, err := sys.ReadMounts(sys.OwnMounts); err == nil && bytes.Contains(mounts, []byte("hidepid=")) {
		return nil, &os.PathError{Op: "list", Path: "/proc", Err: syscall.EPERM}
	}
	return sys.ReadNumbered("/proc")
}

// Threads lists /proc/self/task.
func (*childTable) Threads() ([]int, error) { return sys.ReadNumbered("/proc/self/task") }

// ThreadStart reads /proc/self/task/TID/stat.
func (*childTable) ThreadStart(tid int) (uint64, error) {
	var buf [statSize]byte
	s, err := readStat(taskPath(tid, "stat"), tid, buf[:])
	return s.start, err
}

// ChildrenOf reads /proc/self/task/TID/children.
func (*childTable) ChildrenOf(tid int) ([]int, error) {
	path := taskPath(tid, "children")
	var page [4096]byte // one read returns a page at most
	b, err := sys.ReadAll(path, page[:0], maxChildrenSize)
	if err != nil {
		return nil, err
	}
	pids, ok := parseChildren(b, nil)
	if !ok {
		return nil, &os.PathError{Op: "parse", Path: path, Err: io.ErrUnexpectedEOF}
	}
	return pids, nil
}

// FirstChildrenOf reads the first page of /proc/self/task/TID/children: some 500
// children at least, if there are more.
func (*childTable) FirstChildrenOf(tid int) ([]int, error) {
	var page [4096]byte
	b, err := sys.ReadSmall(taskPath(tid, "children"), page[:])
	if err != nil {
		return nil, err
	}
	b = b[:bytes.LastIndexByte(b, ' ')+1] // larger pages are cut within a number
	pids, _ := parseChildren(b, nil)
	return pids, nil
}

// DescriptorsEnd returns FDSize of /proc/self/status.
func (*childTable) DescriptorsEnd() (int, error) {
	const path = "/proc/self/status"
	b, err := sys.ReadAll(path, make([]byte, 0, 4096), maxStatusSize)
	if err != nil {
		return 0, err
	}
	end, ok := parseFDSize(b)
	if !ok {
		return 0, &os.PathError{Op: "parse", Path: path, Err: io.ErrUnexpectedEOF}
	}
	return end, nil
}

// What is read of a file at most, in bytes. A process chooses the size of its cmdline file,
// up to that of its address space (PR_SET_MM_MAP, see prctl(2)).
const (
	maxArgsSize     = 32 << 10
	maxChildrenSize = 32 << 20 // as many PIDs as there can be, with seven digits and a space
	maxStatusSize   = 64 << 10 // FDSize is among the first lines
)

// maxArgs is how many arguments of a process are kept.
const maxArgs = 4096

// userHZ is the unit of times in /proc/PID/stat, whatever the kernel's own HZ:
// 100 on every architecture that Go runs on.
const userHZ = 100

// Now is CLOCK_BOOTTIME.
func (*childTable) Now() uint64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return uint64(t.Nano()) / (1e9 / userHZ)
}

// Time is exact to 10 ms.
func (*childTable) Time(start uint64) time.Time {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Time{}
	}
	age := time.Duration(t.Nano()) - time.Duration(start)*(time.Second/userHZ)
	return time.Now().Add(-age).Round(0)
}

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

// stat is what is used of /proc/PID/stat.
type stat struct {
	pid     int
	command []byte // aliases the input
	state   byte
	parent  int
	session int
	start   uint64 // in ticks after boot
}

// parseStat parses a /proc/PID/stat file. The command may contain spaces, newlines
// and parentheses, so it ends at the last parenthesis of the file.
func parseStat(b []byte) (s stat, ok bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open || b[open-1] != ' ' {
		return stat{}, false
	}
	pid, ok := sys.ParseDecimal(b[:open-1])
	if !ok {
		return stat{}, false
	}
	s.pid = int(pid)
	s.command = b[open+1 : end]

	const first, last = 3, 22
	var words [last - first + 1][]byte
	rest := b[end+1:]
	for i := range words {
		if len(rest) == 0 || rest[0] != ' ' {
			return stat{}, false
		}
		rest = rest[1:]
		n := bytes.IndexByte(rest, ' ') // a field that ends with the file is cut
		if n < 1 {
			return stat{}, false
		}
		words[i], rest = rest[:n], rest[n:]
	}
	state := words[0]
	parent, okParent := sys.ParseDecimal(words[4-first])
	session, okSession := sys.ParseDecimal(words[6-first])
	start, okStart := sys.ParseDecimal(words[22-first])
	if len(state) != 1 || !okParent || !okSession || !okStart {
		return stat{}, false
	}
	s.state, s.parent, s.session, s.start = state[0], int(parent), int(session), start
	return s, true
}

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

func taskPath(tid int, name string) string {
	return "/proc/self/task/" + strconv.Itoa(tid) + "/" + name
}

// readStat reads and parses the stat file of a process or thread. Its command aliases
// buf, which should have statSize bytes.
func readStat(path string, id int, buf []byte) (stat, error) {
	b, err := sys.ReadSmall(path, buf)
	if err != nil {
		return stat{}, err
	}
	s, ok := parseStat(b)
	if !ok || s.pid != id {
		return stat{}, &os.PathError{Op: "parse", Path: path, Err: io.ErrUnexpectedEOF}
	}
	return s, nil
}

// statSize holds a stat file up to the 22nd field, the last that is needed, even if
// every number before it is as long as it can get.
const statSize = 512

// parseArgs splits a cmdline file: each argument, the empty ones too, ends with NUL. A
// process that has overwritten its arguments may have left the last NUL out.
func parseArgs(b []byte) (args []string) {
	for len(b) > 0 && len(args) < maxArgs {
		arg, rest, _ := bytes.Cut(b, []byte{0})
		args = append(args, string(arg))
		b = rest
	}
	return args
}

// parseFDSize finds the size of the table of descriptors in a /proc/PID/status file:
// no open descriptor has a number as high.
func parseFDSize(b []byte) (int, bool) {
	_, b, _ = bytes.Cut(b, []byte("\nFDSize:\t"))
	b, _, ok := bytes.Cut(b, []byte("\n"))
	size, valid := sys.ParseDecimal(b)
	if !ok || !valid || size >= 1<<31 {
		return 0, false
	}
	return int(size), true
}
