//go:build linux

package integrationtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	_ "github.com/autorestart-go/autorestart"
	_ "github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	_ "github.com/autorestart-go/autorestart/sockets"
	_ "github.com/autorestart-go/autorestart/verify"
)

// processState is what belongs to a whole process, and crosses an exec.
type processState struct {
	Env     []string // LISTEN_*
	Files   []string // from descriptor 3 on: number, target, flags
	Own     []string // files that the image has opened, but for those of the runtime
	Signals []string // blocked and ignored ones
	Dir     string
	Name    string
	Umask   int
}

func currentState() (s processState) {
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "LISTEN_") {
			s.Env = append(s.Env, kv)
		}
	}
	slices.Sort(s.Env)
	for fd := 3; fd < 50; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			continue
		}
		status, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if flags&unix.FD_CLOEXEC != 0 {
			if !ofRuntime(target) {
				s.Own = append(s.Own, fmt.Sprintf("%d %s", fd, target))
			}
			continue
		}
		s.Files = append(s.Files, fmt.Sprintf("%d %s %#x", fd, target, status))
	}
	// Not of the main thread, which may be starting another with all signals blocked.
	status, _ := os.ReadFile("/proc/thread-self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "SigBlk:") || strings.HasPrefix(line, "SigIgn:") {
			s.Signals = append(s.Signals, strings.TrimSpace(line))
		}
	}
	s.Dir, _ = os.Getwd()
	name, _ := os.ReadFile("/proc/self/comm")
	s.Name = string(name)
	s.Umask = unix.Umask(0)
	unix.Umask(s.Umask)
	return s
}

// ofRuntime reports whether the runtime of Go opens such a file: the limits of the CPUs,
// and its poller.
func ofRuntime(target string) bool {
	return strings.HasPrefix(target, "/sys/fs/cgroup/") || target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]"
}

func sayState() {
	b, err := json.Marshal(currentState())
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", b)
}

// The program that announces sockets is executed by the same path as the one that
// finds them, so that the two have one name.
var (
	_ = testprocess.RegisterHelper("announce", func() {
		for i := range 2 {
			syscall.SetNonblock(3+i, i == 0)
		}
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		os.Setenv("LISTEN_FDS", "2")
		os.Setenv("LISTEN_FDNAMES", "web:admin")
		os.Setenv(testprocess.HelperEnv, "imports")
		sayState()
		panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	})
	_ = testprocess.RegisterHelper("imports", func() {
		fmt.Println(runtime.NumGoroutine())
		sayState()
	})
)

// TestImportChangesNothing: this test binary imports all packages of the library. It
// finds what belongs to the whole process as it was passed to it.
func TestImportChangesNothing(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "announce"))
	testprocess.UseHelper(t, "imports")
	cmd.Stderr = os.Stderr
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f) // from descriptor 3 on
	}
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var passed, found processState
	var goroutines string
	lines := bufio.NewScanner(bytes.NewReader(output))
	for i := 0; lines.Scan(); i++ {
		switch i {
		case 0:
			err = json.Unmarshal(lines.Bytes(), &passed)
		case 1:
			goroutines = lines.Text()
		case 2:
			err = json.Unmarshal(lines.Bytes(), &found)
		}
		if err != nil {
			t.Fatalf("%v in %s", err, output)
		}
	}
	if len(passed.Env) != 3 || len(passed.Files) < 2 {
		t.Fatalf("passed %+v", passed)
	}
	passed.Own = nil // an exec closes them
	if !reflect.DeepEqual(found, passed) {
		t.Errorf("the importing program has\n%+v\nwas passed\n%+v", found, passed)
	}
	if goroutines != "1" {
		t.Errorf("%s goroutines at the start of main", goroutines)
	}
}
