//go:build unix

package handover

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/rawsys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

const manyNumbers = 100_000

// The helper hands over many numbers to its next image, which counts them.
var _ = testprocess.RegisterHelper("many numbers", func() {
	if Inherited.Number(PID) != 0 {
		fmt.Print(len(Inherited.Numbers[Signal]))
		return
	}
	s := of(map[NumberKind][]int{PID: {os.Getpid()}, Generation: {1}}, nil)
	for range manyNumbers {
		s.Numbers[Signal] = append(s.Numbers[Signal], 1)
	}
	fmt.Print(Execute(Target{Path: os.Args[0]}, os.Args, os.Environ(), &s))
})

// TestManyNumbersCross: execve(2) takes no variable of more than 128 KiB.
func TestManyNumbersCross(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "many numbers"))
	output, err := cmd.CombinedOutput()
	if err != nil || string(output) != strconv.Itoa(manyNumbers) {
		t.Errorf("%q, %v; want %d numbers", output, err, manyNumbers)
	}
}

// The helper hands over a descriptor of each kind. The next image says which of them its children
// would inherit.
var _ = testprocess.RegisterHelper("descriptors", func() {
	if Inherited.Number(PID) != 0 {
		for kind := Inotify; kind < Executable; kind++ {
			if rawsys.Crossed(Inherited.Number(kind)) {
				fmt.Print(numberKeys[kind], " ")
			}
		}
		return
	}
	s := of(map[NumberKind][]int{PID: {os.Getpid()}, Generation: {1}}, nil)
	for kind := Inotify; kind < Executable; kind++ {
		f, err := os.Open(os.DevNull)
		if err != nil {
			panic(err)
		}
		s.Set(kind, int(f.Fd()))
	}
	fmt.Print(Execute(Target{Path: os.Args[0]}, os.Args, os.Environ(), &s))
})

// TestNoChildInheritsWhatCrossed: a package that is initialised before any other of the program may
// start children.
func TestNoChildInheritsWhatCrossed(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "descriptors"))
	if output, err := cmd.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("children would inherit: %s, %v", output, err)
	}
}

// The helper hands over to its next image by way of a last look that takes its time. The next
// image says when the look has ended and when it was executed.
var _ = testprocess.RegisterHelper("slow last look", func() {
	looked := filepath.Join(os.Getenv("TMPDIR"), "looked")
	if Inherited.Number(PID) != 0 {
		ended, _ := os.ReadFile(looked)
		fmt.Print(string(ended), " ", Inherited.Texts[Times])
		return
	}
	s := of(map[NumberKind][]int{PID: {os.Getpid()}, Generation: {1}}, map[TextKind]string{Times: "1/2/3/4/"})
	s.InVariable = os.Args[1] == "variable"
	target := Target{Path: os.Args[0], LastLook: func() error {
		time.Sleep(10 * time.Millisecond)
		return os.WriteFile(looked, strconv.AppendInt(nil, time.Now().UnixNano(), 10), 0o600)
	}}
	fmt.Print(Execute(target, os.Args, os.Environ(), &s))
})

// TestExecutedIsLast: the time of the exec is not that of a step before, wherever it crosses.
func TestExecutedIsLast(t *testing.T) {
	for _, way := range []string{"carrier", "variable"} {
		cmd := exec.Command(os.Args[0], way)
		cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "slow last look"), "TMPDIR="+t.TempDir())
		output, err := cmd.CombinedOutput()
		var looked, executed int64
		if n, _ := fmt.Sscanf(string(output), "%d 1/2/3/4/%d/", &looked, &executed); n != 2 || err != nil {
			t.Fatalf("%s: %q, %v", way, output, err)
		}
		if now := time.Now().UnixNano(); executed < looked || executed > now {
			t.Errorf("%s: executed at %d, the last look ended at %d, now is %d", way, executed, looked, now)
		}
	}
}

// TestParseIsBounded: a short text can name many descriptors.
func TestParseIsBounded(t *testing.T) {
	text := "pid=42,"
	for len(text) < 1600 {
		text += "file=3-1048578,"
	}
	if s, ignored := Parse(text, 42); ignored == "" {
		t.Errorf("%d bytes became %d descriptors", len(text), len(s.Numbers[File]))
	}
}

// The last look at a file comes after everything else: what is done between the two gives others
// time to put another file there.
func TestLastLookIsLast(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	s := of(map[NumberKind][]int{PID: {os.Getpid()}, File: {fd}}, nil)
	another := errors.New("another file")
	target := Target{Path: os.Args[0], LastLook: func() error {
		if !rawsys.Crossed(fd) {
			t.Error("nothing is handed over yet")
		}
		return another
	}}
	if err := Execute(target, os.Args, os.Environ(), &s); err != another {
		t.Errorf("%v, want %v", err, another)
	}
	if rawsys.Crossed(fd) {
		t.Error("the descriptor is left inheritable")
	}
	target.LastLook = func() error { return another }
	if err := Execute(target, os.Args, os.Environ(), nil); err != another {
		t.Errorf("%v, want %v", err, another)
	}
}

// TestClosedDescriptorFailsExec: the next image would take another file for the one that was
// handed over. The descriptors before it are left as they were.
func TestClosedDescriptorFailsExec(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	const closed = 1 << 20
	s := of(map[NumberKind][]int{PID: {os.Getpid()}, File: {fd, closed}}, nil)
	err = Execute(Target{Path: "/nonexistent"}, os.Args, os.Environ(), &s)
	if !errors.Is(err, syscall.EBADF) || !strings.Contains(err.Error(), "descriptor 1048576 (file)") {
		t.Errorf("%v, want an error that names descriptor %d", err, closed)
	}
	if rawsys.Crossed(fd) {
		t.Error("a descriptor is left inheritable")
	}
	s.Numbers[File] = []int{fd}
	before := s
	before.Numbers[File] = []int{fd}
	if err := Execute(Target{Path: "/nonexistent", FD: 0}, os.Args, os.Environ(), &s); err != syscall.ENOENT {
		t.Error(err)
	}
	if rawsys.Crossed(fd) || !reflect.DeepEqual(s, before) {
		t.Errorf("an exec that failed has left %+v, want %+v", s, before)
	}
}
