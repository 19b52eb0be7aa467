//go:build !autorestart_portable

package autorestart

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/reap"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// TestSignalsDuringExec: as long as an exec ignores signals, no subscription is made and
// no default action is restored. Both would be undone, or undo what the exec does.
func TestSignalsDuringExec(t *testing.T) {
	s := &signalSet{inherited: []int{int(syscall.SIGUSR2)}}
	s.subscribe(make(chan os.Signal), []os.Signal{syscall.SIGUSR1})
	h := new(handover.State)
	end := s.handOver(h)
	if got := h.Numbers[handover.Signal]; !slices.Equal(got, []int{int(syscall.SIGUSR2), int(syscall.SIGUSR1)}) {
		t.Errorf("handed over %v", got)
	}
	if s.mu.TryLock() {
		t.Error("the set is not locked")
		s.mu.Unlock()
	}
	end()
	if !s.mu.TryLock() {
		t.Fatal("the set is locked after the exec has failed")
	}
	s.mu.Unlock()
}

// TestInotifyTakeOver: only inotify instances are taken over; any other descriptor of such
// a number belongs to other code.
func TestInotifyTakeOver(t *testing.T) {
	good, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC) // again, by internal/handover
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if _, err := unix.InotifyAddWatch(good, dir, fileEvents); err != nil {
		t.Fatal(err)
	}
	file, err := unix.Open(filepath.Join(dir, "x"), unix.O_CREAT|unix.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(file)
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	gone, err := unix.Dup(file)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(gone)

	s := newEvents([]int{file, pipe[0], pipe[1], gone, 1 << 30, good}, []int{good, 1})
	if len(s.all) != 1 || s.all[0].fd != good || s.all[0].unclaimed == nil {
		t.Fatalf("took over %+v of file %d, pipe %v, closed %d, inotify %d", s.all, file, pipe, gone, good)
	}
	closeOnExec := func(fd int) bool {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			t.Fatalf("descriptor %d: %v", fd, err)
		}
		return flags&unix.FD_CLOEXEC != 0
	}
	for _, fd := range []int{file, pipe[0], pipe[1]} {
		if closeOnExec(fd) {
			t.Errorf("descriptor %d was changed", fd)
		}
	}

	// The unclaimed one is used before another is made.
	fd, watches, err := s.take()
	if err != nil || fd.Int() != good || !slices.Equal(watches, []int{1}) {
		t.Fatalf("took %v with watches %v, %v; want %d with 1", fd, watches, err, good)
	}
	made, watches, err := s.take()
	if err != nil {
		t.Fatal(err)
	}
	second := made.Int()
	if len(watches) > 0 || second == good || !closeOnExec(second) {
		t.Fatalf("took %d with watches %v", second, watches)
	}
	s.closeUnclaimed() // nothing is left unclaimed

	// Across an exec that fails.
	s.note(second, []int{4, 5})
	all, handed := s.beginHandover()
	slices.Sort(all)
	if !slices.Equal(all, []int{good, second}) || !slices.Equal(handed, []int{good, 1, second, 4, second, 5}) &&
		!slices.Equal(handed, []int{second, 4, second, 5, good, 1}) {
		t.Errorf("handed over %v with %v, want %v", all, handed, []int{good, second})
	}
	s.cancelHandover()

	s.forget(good)
	s.forget(good)
	unix.Close(good)
	if all, watches := s.beginHandover(); len(watches) != 4 || !slices.Equal(all, []int{second}) {
		t.Errorf("handed over %v, want %v", all, []int{second})
	}
	s.cancelHandover()
	s.forget(second)
	unix.Close(second)
}

// TestInotifyCloseUnclaimed: descriptors that are not claimed are closed.
func TestInotifyCloseUnclaimed(t *testing.T) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Skip(err)
	}
	s := &eventSet{all: []inotifyFD{{fd: fd, watches: []int{1}, unclaimed: sys.NewFD(fd)}}}
	s.closeUnclaimed()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("descriptor %d: %v, want %v", fd, err, unix.EBADF)
	}
	s.closeUnclaimed()
}

// TestInotifyAdopted: a watch that crossed an exec is used again, with what
// was queued meanwhile.
func TestInotifyAdopted(t *testing.T) {
	root := newTree(t, "app", "old/", "old/app")
	path := filepath.Join(root, "app")
	n := openInotify(t)
	if _, err := n.Arm(filepath.Join(root, "old/app")); err != n.dirs.Silent() {
		t.Fatal(err)
	}
	if _, err := n.Arm(path); err != n.dirs.Silent() {
		t.Fatal(err)
	}
	before := slices.Clone(n.dirs.Steps)
	touch(t, path)

	n.dirs.Steps = nil // what the next image knows
	if changed, err := n.Arm(path); err != n.dirs.Silent() || !changed {
		t.Errorf("arm: %t, %v", changed, err)
	}
	if !slices.Equal(n.dirs.Steps, before) {
		t.Errorf("watches %v, before %v", n.dirs.Steps, before)
	}
	if event, err := n.Wait(context.Background(), time.Hour, watch.EntryID{}); !event || err != nil {
		t.Errorf("the event before: %t, %v", event, err)
	}
	checkWatches(t, n, path)
}

// TestNoRollbackWithoutProc: that is found out before the program is drained for it.
func TestNoRollbackWithoutProc(t *testing.T) {
	prepare := func(c *candidate.Candidate) error {
		prepared, err := self().prepare(&Restarter{ReadyTimeout: time.Minute}, &candidate.Rules{System: self().files}, c)
		if err == nil {
			prepared.close()
		}
		return err
	}
	skipped := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock it: the thread is of no more use
		err := forcefallback.NoProc()
		if err == nil {
			if err := prepare(&candidate.Candidate{Path: "/app"}); !errors.Is(err, errors.ErrUnsupported) || isRetryable(err) {
				t.Errorf("without /proc: %v", err)
			}
		}
		skipped <- err
	}()
	if err := <-skipped; err != nil {
		t.Skip(err)
	}
	if err := prepare(&candidate.Candidate{Path: "/app"}); err != nil {
		t.Errorf("with /proc: %v", err)
	}
}

// A pidfd stands for its process, alive, as a zombie and when it has been waited for.
func TestPidfd(t *testing.T) {
	table := new(childTable)
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	pid := cmd.Process.Pid
	p, err := table.Open(pid)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.EPERM) {
		cmd.Process.Kill()
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if state, err := p.Peek(); state != reap.Running || err != nil {
		t.Errorf("Peek: %v, %v", state, err)
	}
	if got, err := table.PeekDescriptor(p.FD()); got != 0 || err != nil {
		t.Errorf("PeekDescriptor: %v, %v", got, err)
	}
	poller, err := table.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer poller.Close()
	if err := poller.Add(p, pid); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if pids := <-poller.Exited(); !slices.Equal(pids, []int{pid}) {
		t.Errorf("announced: %v, want %d", pids, pid)
	}
	if state, err := table.Peek(pid); state != reap.Exited || err != nil {
		t.Errorf("Peek: %v, %v", state, err)
	}
	if got, err := table.PeekDescriptor(p.FD()); got != pid || err != nil {
		t.Errorf("PeekDescriptor: %v, %v", got, err)
	}
	var e reap.Exit
	if state, err := p.Wait(&e); state != reap.Exited || err != nil || e.Code != -1 || e.Signal != syscall.SIGKILL {
		t.Errorf("Wait: %v, %v, %+v", state, err, e)
	}
	if state, err := p.Wait(nil); state != reap.NotOurs || err != nil {
		t.Errorf("second Wait: %v, %v", state, err)
	}
	if err := p.Signal(0); err != os.ErrProcessDone {
		t.Errorf("Signal: %v", err)
	}
	p.Close()
	p.Close() // does nothing to a descriptor that has the number by then
}

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
	table := new(childTable)
	s, err := table.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	if s.Parent != os.Getppid() {
		t.Errorf("Stat: %+v", s)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil || s.Command+"\n" != string(comm) {
		t.Errorf("command %q, comm says %q, %v", s.Command, comm, err)
	}
	if sid, _ := table.Session(0); s.Session != sid {
		t.Errorf("session %d, getsid says %d", s.Session, sid)
	}
	if now := table.Now(); s.Start > now {
		t.Errorf("started at %d, after now, %d", s.Start, now)
	}
	if age := time.Since(table.Time(s.Start)); age < -20*time.Millisecond || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
	if start, err := table.ThreadStart(self); err != nil || start > table.Now() {
		t.Errorf("the main thread was started at %d, %v", start, err)
	}
	if threads, err := table.Threads(); err != nil || !slices.Contains(threads, self) {
		t.Errorf("threads: %v, %v", threads, err)
	}
	if args, err := table.Args(self); err != nil || !slices.Equal(args, os.Args) {
		t.Errorf("Args = %q, %v; want %q", args, err, os.Args)
	}
	if !table.OwnNumbers() {
		t.Error("/proc counts PIDs in another way")
	}
	fds, err := sys.ReadNumbered("/proc/self/fd")
	if err != nil || !slices.Contains(fds, 0) || !slices.Contains(fds, 2) {
		t.Errorf("descriptors: %v, %v", fds, err)
	}
	if _, err := table.Stat(1 << 22); !os.IsNotExist(err) {
		t.Errorf("Stat of a process that can't be: %v", err)
	}
	if end, err := table.DescriptorsEnd(); err != nil || end <= fds[len(fds)-1] {
		t.Errorf("descriptors end at %d, %v; there are %v", end, err, fds)
	}
}

// FuzzProcfs: whatever is in a file, its parser needs no memory beside the result.
func FuzzProcfs(f *testing.F) {
	for _, s := range []string{"42 (sleep) S" + statTail, strings.Repeat("12345 ", 5000), strings.Repeat("\x00", 10000), "Name:\tx\nFDSize:\t64\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pids := make([]int, 0, len(b))
		parsers := testprocess.Allocated(func() {
			parseStat(b)
			parseFDSize(b)
			parseChildren(b, pids)
		})
		var args []string
		ofArgs := testprocess.Allocated(func() { args = parseArgs(b) })
		if parsers > 8<<10 || ofArgs > 64*uint64(len(b))+8<<10 || len(args) > maxArgs {
			t.Errorf("%d bytes allocated, %d for %d arguments, of %d bytes", parsers, ofArgs, len(args), len(b))
		}
	})
}

func FuzzChildren(f *testing.F) {
	for _, s := range []string{"", "1 ", "12 345 ", "12 345", "0 ", "99999999999 ", "1  2 "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pids, ok := parseChildren(b, nil)
		// But for zeros in front and newlines, the file is what those PIDs are written as.
		var again []byte
		for _, pid := range pids {
			again = append(strconv.AppendInt(again, int64(pid), 10), ' ')
		}
		if back, okAgain := parseChildren(again, nil); ok && (!okAgain || !slices.Equal(back, pids)) {
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
		if s.pid < 0 || s.parent < 0 || s.session < 0 {
			t.Errorf("%q: %+v", b, s)
		}
		// A file that is cut before the end of the start time is not accepted.
		if fields := strings.Count(string(b[bytes.LastIndexByte(b, ')')+1:]), " "); ok && fields < 21 {
			t.Errorf("accepted with %d fields: %q", fields, b)
		}
	})
}

func TestParseFDSize(t *testing.T) {
	for in, want := range map[string]int{
		"Name:\tx\nFDSize:\t64\nGroups:\t\n": 64,
		"Name:\tFDSize:\t1\nFDSize:\t256\n":  256,
		"Name:\tx\nFDSize:\t64":              0,
		"FDSize:\t64\n":                      0, // never the first line
		"Name:\tx\nFDSize:\t-1\n":            0,
		"":                                   0,
	} {
		if got, ok := parseFDSize([]byte(in)); got != want || ok != (want > 0) {
			t.Errorf("parseFDSize(%q) = %d, %v", in, got, ok)
		}
	}
}

// What the child snapshot adds to the start of a program that has no children.
func BenchmarkTakeSnapshot(b *testing.B) {
	if _, state, err := new(childTable).PeekAny(); err != nil || state != reap.NotOurs {
		b.Skip("this process has children")
	}
	for b.Loop() {
		reap.TakeSnapshot(new(childTable), false)
	}
}

// A look at all descriptors, of which there are ten thousand.
func BenchmarkPeekDescriptors(b *testing.B) {
	table := new(childTable)
	for range 5000 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Skip(err)
		}
		defer unix.Close(pair[0])
		defer unix.Close(pair[1])
	}
	end, err := table.DescriptorsEnd()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for fd := range end {
			table.PeekDescriptor(fd)
		}
	}
}

// exchangeEnv tells the helper "exchange" what to do at the last moment: replace the file
// at the path, or write into it.
const exchangeEnv = "AUTORESTART_TEST_EXCHANGE"

// The helper judges the program beside it, and executes that after the program was
// exchanged, when nothing looks at it any more. The next image says what it is.
var _ = testprocess.RegisterHelper("exchange", func() {
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	if Generation() > 0 {
		os.Stdout.Write(exe[bytes.LastIndexByte(exe, '\n')+1:])
		return
	}
	path := filepath.Join(filepath.Dir(os.Args[0]), "app")
	rules := self().newRules("", false)
	c, rejection := candidate.Open(rules.System, path)
	if rejection == nil {
		rejection = rules.Judge(c)
	}
	if rejection != nil {
		panic(rejection)
	}
	write := func(flags int) {
		f, err := os.OpenFile(path, os.O_WRONLY|flags, 0)
		if err == nil {
			f.WriteAt([]byte("other"), c.ID.Size-5)
			f.Close()
		}
	}
	exchange := map[string]func() error{
		"replace": func() error { return os.Rename(path+".other", path) },
		"write": func() error {
			write(syscall.O_NONBLOCK)
			return nil
		},
		"write later": func() error {
			go write(0)
			time.Sleep(5 * candidate.LeaseInterval) // the lease may give way in that time
			return nil
		},
	}[os.Getenv(exchangeEnv)]
	if os.Getenv(exchangeEnv) != "replace" && !candidate.NewLease(self().files, c).Granted() {
		os.Stdout.WriteString("no lease")
		return
	}
	x := &replacement{process: self(), r: new(Restarter), c: c, lastLook: exchange, prepared: &prepared{process: self()}}
	err = self().exec(x)
	if !errors.Is(err, syscall.ETXTBSY) { // a writer has the file open
		panic(err)
	}
	os.Stdout.WriteString("judge") // when the writer is done, it is judged again
})

// TestJudgedIsExecuted: the program that was judged is executed, whatever becomes of its
// path and, where the kernel leases it, of its content between the last look and the exec.
func TestJudgedIsExecuted(t *testing.T) {
	variable := testprocess.UseHelper(t, "exchange")
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"replace", "write", "write later"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			for name, version := range map[string]string{"start": "start", "app": "judge", "app.other": "other"} {
				if err := os.WriteFile(filepath.Join(dir, name), append(slices.Clip(exe), "\n"+version...), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(filepath.Join(dir, "start"))
			cmd.Env = append(os.Environ(), variable, exchangeEnv+"="+how)
			output, err := cmd.CombinedOutput()
			if string(output) == "no lease" {
				t.Skip("no leases on this file system")
			}
			if err != nil || string(output) != "judge" {
				t.Errorf("executed %q, %v; want the program that was judged", output, err)
			}
		})
	}
}

// TestCopyInMemory: nothing can be written to what Verify accepts. A file has a longer name than a memfd.
func TestCopyInMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 255))
	testprocess.WriteExecutable(t, path, []byte("content"))
	c, _ := candidate.Open(self().files, path)
	defer c.Close()
	f, err := copyInMemory(c)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(descriptorPath(f), []byte("other"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("written: %v", err)
	}
}
