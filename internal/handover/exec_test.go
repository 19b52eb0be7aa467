//go:build unix

package handover

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
