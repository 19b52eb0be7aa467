//go:build !autorestart_portable

package standin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/execve"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// start starts a program as a stand-in of the set.
func start(t *testing.T, s *Set, path string, args []string, add func(h *handover.State), env ...string) *StandIn {
	t.Helper()
	h := new(handover.State)
	h.Set(handover.PID, os.Getpid())
	h.Set(handover.Generation, 1)
	if add != nil {
		add(h)
	}
	x, err := s.Start(handover.Target{Path: path}, append([]string{path}, args...), append(os.Environ(), env...), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Kill)
	return x
}

// A program that hangs as soon as it is executed holds up no exec: this process may have to be
// rolled back.
func TestHangingStandInHoldsUpNoExec(t *testing.T) {
	start(t, Inherit(newImage()), path(t, "sleep"), []string{"1000"}, nil)
	done := make(chan error, 1)
	go func() { done <- execve.AsLeader(func() error { return nil }) }()
	testprocess.Receive(t, "thread for an exec", done)
}

// A signal may come at any moment of the start. The greeting is the first message all the same: a
// stand-in that gets another one starts normally.
func TestSignalDuringStart(t *testing.T) {
	s := Inherit(newImage())
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
				s.Forward(syscall.SIGHUP)
				runtime.Gosched()
			}
		}
	}()
	for range 3 {
		x := start(t, s, "/proc/self/exe", nil, nil, testprocess.UseHelper(t, "is-stand-in"))
		testprocess.Receive(t, "end of the stand-in", x.Ended())
		if err := x.Err(); err.Error() != "it has exited with status 0" {
			t.Error(err)
		}
	}
	close(done)
	<-ended
}

var _ = testprocess.RegisterHelper("is-stand-in", func() {
	if !handover.Inherited.IsStandIn {
		os.Exit(3)
	}
})

// A description is what a stand-in finds.
type description struct {
	StandIn       bool
	PID, Main     int
	Parent, Group int
	Generation    int
	Passed        string // the content of the file that is passed
	Open          []int
	Variable      bool // of the handover
	Argument      string
	Inheritable   []int // descriptors above the standard streams that its children would get
	ParentDeath   int32 // the signal for its main thread
}

// Helpers ask the main thread: the main goroutine is locked to it.
func init() {
	if os.Getenv(testprocess.HelperEnv) != "" {
		runtime.LockOSThread()
	}
}

var _ = testprocess.RegisterHelper("describe", func() {
	h := handover.Inherited
	d := description{
		StandIn: h.IsStandIn, PID: os.Getpid(), Main: h.Number(handover.PID), Parent: os.Getppid(), Group: unix.Getpgrp(),
		Generation: h.Number(handover.Generation), Argument: os.Args[1],
	}
	for fd := range 1000 {
		if closeOnExec, _, err := sys.Flags(fd); err == nil {
			d.Open = append(d.Open, fd)
			if fd > 2 && !closeOnExec {
				d.Inheritable = append(d.Inheritable, fd)
			}
		}
	}
	b := make([]byte, 100)
	n, _ := unix.Pread(h.Number(handover.File), b, 0)
	d.Passed = string(b[:max(0, n)])
	_, d.Variable = os.LookupEnv(handover.Env)
	unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&d.ParentDeath)), 0)
	json.NewEncoder(os.Stdout).Encode(d)
})

// A stand-in finds what is handed over at the same descriptors, and nothing else. It has a process
// group of its own.
func TestStart(t *testing.T) {
	const passed, inheritable, cloexec = 60, 61, 62
	file := must(handover.MemoryFile([]byte("content")))
	for _, number := range []int{passed, inheritable, cloexec} {
		flags := 0
		if number != inheritable {
			flags = unix.O_CLOEXEC
		}
		if err := unix.Dup3(file, number, flags); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(number)
	}
	defer unix.Close(file)
	s := Inherit(newImage())
	before := openDescriptors(t)
	x := start(t, s, "/proc/self/exe", []string{"an argument"}, func(h *handover.State) { h.Numbers[handover.File] = []int{passed} },
		testprocess.UseHelper(t, "describe"))
	testprocess.Receive(t, "end of the stand-in", x.Ended())
	out := x.written.(*output)
	var d description
	if err := json.Unmarshal([]byte(lastOf(out.files[0].Int())), &d); err != nil {
		t.Fatalf("%v: it has written %q", err, out.tail())
	}
	pid := x.process.pid()
	if !d.StandIn || d.Main != os.Getpid() || d.Parent != os.Getpid() || d.PID != pid || d.Group != pid || d.Generation != 1 {
		t.Errorf("it is %+v, of process %d", d, os.Getpid())
	}
	if d.Passed != "content" || d.Variable || d.Argument != "an argument" || d.ParentDeath != 0 || len(d.Inheritable) > 0 {
		t.Errorf("it has %+v", d)
	}
	for number, want := range map[int]bool{0: true, 1: true, 2: true, passed: true, inheritable: false, cloexec: false} {
		if slices.Contains(d.Open, number) != want {
			t.Errorf("descriptor %d is open: %v; all: %v", number, !want, d.Open)
		}
	}
	x.Kill()
	wantReaped(t, pid)
	if after := openDescriptors(t); !slices.Equal(after, before) {
		t.Errorf("open before: %v, after: %v", before, after)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// openDescriptors returns the descriptors of this process.
func openDescriptors(t *testing.T) (all []int) {
	t.Helper()
	for fd := range 1000 {
		if _, _, err := sys.Flags(fd); err == nil {
			all = append(all, fd)
		}
	}
	return all
}

// A start that fails leaves nothing.
func TestStartFails(t *testing.T) {
	s := Inherit(newImage())
	before := openDescriptors(t)
	look := errors.New("the file was changed")
	for name, target := range map[string]handover.Target{
		"no file":       {Path: "/nonexistent"},
		"no executable": {Path: "/dev/null"},
		"last look":     {Path: "/proc/self/exe", LastLook: func() error { return look }},
	} {
		h := new(handover.State)
		h.Set(handover.PID, os.Getpid())
		if _, err := s.Start(target, []string{"x"}, os.Environ(), h); err == nil || name == "last look" && err != look {
			t.Errorf("%s: %v", name, err)
		}
	}
	withoutRoom(t, func() {
		h := new(handover.State)
		h.Set(handover.PID, os.Getpid())
		if _, err := s.Start(handover.Target{Path: "/proc/self/exe"}, []string{"x"}, os.Environ(), h); !errors.Is(err, unix.EMFILE) {
			t.Errorf("without descriptors: %v", err)
		}
	})
	if after := openDescriptors(t); !slices.Equal(after, before) || len(s.all) > 0 {
		t.Errorf("open before: %v, after: %v; stand-ins: %d", before, after, len(s.all))
	}
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
}

// denied are system calls that a seccomp filter may deny, with what becomes of a stand-in then.
var denied = []struct {
	name string
	call uint32
	want string // "" if it works
}{
	{"memfd_create", unix.SYS_MEMFD_CREATE, ""},
	{"socketpair", unix.SYS_SOCKETPAIR, "socketpair: operation not permitted"},
	{"sendmsg", unix.SYS_SENDMSG, "sendmsg: operation not permitted"},
	{"recvmsg", unix.SYS_RECVMSG, `it has exited with status 1; it has written "autorestart: cannot start as a stand-in: recvmsg: operation not permitted"`},
	{"pidfd_open", unix.SYS_PIDFD_OPEN, `it has exited with status 1; it has written "autorestart: cannot start as a stand-in: pidfd_open: operation not permitted"`},
}

var _ = testprocess.RegisterHelper("start-denied", func() {
	for _, d := range denied {
		if d.name == os.Args[1] {
			if err := forcefallback.DenyAll(forcefallback.Denial{Call: d.call, Arg: -1, Errno: unix.EPERM}); err != nil {
				fmt.Print("skip: ", err)
				return
			}
		}
	}
	h := new(handover.State)
	h.Set(handover.PID, os.Getpid())
	x, err := Inherit(newImage()).Start(handover.Target{Path: os.Args[2]}, os.Args[2:], []string{testprocess.HelperEnv + "=is-stand-in"}, h)
	if err == nil {
		err = x.AwaitReady(context.Background(), time.Hour) // it is never ready
	}
	fmt.Print(err)
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != unix.ECHILD {
		fmt.Print("; a child is left: ", err)
	}
})

// Where a system call is denied, a stand-in works without it, or says why it does not.
func TestStartWhereCallsAreDenied(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range denied {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(program, d.name, program)
			cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "start-denied"))
			out, err := cmd.CombinedOutput()
			if strings.HasPrefix(string(out), "skip: ") {
				t.Skip(string(out))
			}
			want := d.want
			if want == "" {
				want = "it has exited with status 0"
			}
			if err != nil || string(out) != want {
				t.Errorf("it says %q, %v; want %q", out, err, want)
			}
		})
	}
}

// A program may end before its greeting is sent. The reason is how it has ended.
func TestEndsAtOnce(t *testing.T) {
	s := Inherit(newImage())
	program := path(t, "false")
	for range 20 {
		x := start(t, s, program, nil, nil)
		err := x.AwaitReady(t.Context(), time.Hour)
		if f, ok := err.(*Failure); !ok || f.Text != "it has exited with status 1" {
			t.Fatal(err)
		}
	}
}

var _ = testprocess.RegisterHelper("join-without-room", func() {
	os.Pipe() // it opens the descriptors of the runtime's poller, too
	var limit unix.Rlimit
	must(0, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	limit.Cur = 3
	must(0, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	Join(image.Current()).Ready()
	select {}
})

// A stand-in whose table of descriptors is full says that it is ready all the same.
func TestJoinWithoutRoom(t *testing.T) {
	x := start(t, Inherit(newImage()), "/proc/self/exe", nil, nil, testprocess.UseHelper(t, "join-without-room"))
	ctx, stop := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	defer stop()
	if err := x.AwaitReady(ctx, time.Hour); err != nil {
		t.Error(err)
	}
}

// outlive-channel notes whether it is told that the main process has ended.
var _ = testprocess.RegisterHelper("outlive-channel", func() {
	i := image.Current()
	note := func(text string) { unix.Write(i.Inherited.Number(handover.File), []byte(text)) }
	i.Beside.OnLost(func() { note("lost ") })
	i.Drainers.Register(noteDrain(note))
	Join(i).Ready()
	select {}
})

type noteDrain func(string)

func (noteDrain) Quiesce()                      {}
func (n noteDrain) Drain(context.Context) error { n("drained"); return nil }
func (noteDrain) Resume()                       {}

// A main process that has closed the channel, and lives, needs the sockets that it has in common with
// the stand-in. They are shut down only if it has ended.
func TestChannelIsClosedByLivingProcess(t *testing.T) {
	noted := sys.NewFD(must(handover.EmptyFile()))
	defer noted.Close()
	x := start(t, Inherit(newImage()), "/proc/self/exe", nil, func(h *handover.State) { h.Numbers[handover.File] = []int{noted.Int()} },
		testprocess.UseHelper(t, "outlive-channel"))
	ctx, stop := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	defer stop()
	if err := x.AwaitReady(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := x.Serve(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := x.Ping(); err != nil {
		t.Fatal(err)
	}
	x.link.transport.close()
	testprocess.Receive(t, "end of the stand-in", x.Ended())
	if text := lastOf(noted.Int()); text != "drained" {
		t.Errorf("the stand-in has noted %q", text)
	}
	if how, _ := x.process.how(); how != "it has exited with status 0" {
		t.Error(how)
	}
}
