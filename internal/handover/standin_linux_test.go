//go:build !autorestart_portable

package handover_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

var (
	_ = testprocess.RegisterHelper("stand-in", func() {
		i := handover.Inherited
		switch {
		case i.IsStandIn:
			fmt.Print("stand-in of ", i.Number(handover.PID), ", generation ", i.Number(handover.Generation))
		case i.Number(handover.PID) != 0:
			fmt.Print("took over from ", i.Number(handover.PID))
		default:
			fmt.Print("normal start")
		}
	})

	// greet sends a greeting, with its own credentials.
	_ = testprocess.RegisterHelper("greet", func() {
		pid, _ := strconv.Atoi(os.Getenv("STAND_IN"))
		syscall.Write(channelFD, handover.StandInGreeting(pid))
	})
)

// channelFD is the descriptor of the channel in helpers: the first of ExtraFiles.
const channelFD = 3

// A channel is a socket pair. The other end is for a child.
type channel struct {
	own   int
	other *os.File
}

func newChannel(t *testing.T, credentials bool) channel {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if credentials {
		if err := syscall.SetsockoptInt(pair[1], syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1); err != nil {
			t.Fatal(err)
		}
	}
	c := channel{pair[0], os.NewFile(uintptr(pair[1]), "channel")}
	t.Cleanup(func() {
		syscall.Close(c.own)
		c.other.Close()
	})
	return c
}

// A start is one of a program that finds a variable by which it might be a stand-in.
type start struct {
	variable string                             // after the PID of the parent; with % for the descriptor of the channel
	by       []string                           // the command that starts the program; nil if the test does
	file     *os.File                           // in place of the channel
	noCreds  bool                               // the channel has no SO_PASSCRED
	greet    func(t *testing.T, own, child int) // nil for the greeting of a stand-in
}

func greetFor(pid func(child int) int) func(*testing.T, int, int) {
	return func(_ *testing.T, own, child int) { syscall.Write(own, handover.StandInGreeting(pid(child))) }
}

// run starts the program, and returns what it says, with how it ends.
func (s start) run(t *testing.T) (said string, err error) {
	t.Helper()
	c := newChannel(t, !s.noCreds)
	file := c.other
	if s.file != nil {
		file = s.file
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clip(s.by), program)
	cmd := exec.Command(args[0], args[1:]...)
	variable := "pid=" + strconv.Itoa(os.Getpid()) + "," + strings.ReplaceAll(s.variable, "%", strconv.Itoa(channelFD))
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "stand-in"), handover.Env+"="+variable)
	cmd.ExtraFiles = []*os.File{file}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if s.greet == nil {
		s.greet = greetFor(func(child int) int { return child })
	}
	s.greet(t, c.own, cmd.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err, _ = testprocess.Receive(t, "end of the program", ended)
	return out.String(), err
}

func TestStandIn(t *testing.T) {
	said, err := start{variable: "generation=4,channel=%,"}.run(t)
	if want := fmt.Sprintf("stand-in of %d, generation 4", os.Getpid()); said != want || err != nil {
		t.Errorf("the child says %q, %v; want %q", said, err, want)
	}
}

// A variable of the environment makes no start that of a stand-in.
func TestForgedStandIn(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	const variable = "generation=4,channel=%,"
	for name, s := range map[string]start{
		"no channel":                     {variable: "generation=4,"},
		"channel is not open":            {variable: "generation=4,channel=99,"},
		"channel is a standard stream":   {variable: "generation=4,channel=1,"},
		"channel is a pipe":              {variable: variable, file: r},
		"variable is cut":                {variable: "generation=4,channel=%"},
		"pair of another process":        {variable: variable, by: []string{"/bin/sh", "-c", `"$0"; exit`}},
		"greeting for another child":     {variable: variable, greet: greetFor(func(child int) int { return child + 1 })},
		"greeting without credentials":   {variable: variable, noCreds: true},
		"greeting of another process":    {variable: variable, greet: greetByOther},
		"greeting begins like the right": {variable: variable, greet: greetFor(func(child int) int { return child * 10 })},
		"first message is no greeting":   {variable: variable, greet: say("hello")},
		"first message is an empty one":  {variable: variable, greet: say("")},
		"first message is much too long": {variable: variable, greet: say(strings.Repeat("stand-in ", 1000))},
	} {
		t.Run(name, func(t *testing.T) {
			if said, err := s.run(t); said != "normal start" || err != nil {
				t.Errorf("the child says %q, %v", said, err)
			}
		})
	}
}

func say(text string) func(*testing.T, int, int) {
	return func(_ *testing.T, own, _ int) { syscall.Write(own, []byte(text)) }
}

// greetByOther has a process send the greeting that has not made the channel.
func greetByOther(t *testing.T, own, child int) {
	duplicate, err := syscall.Dup(own)
	if err != nil {
		t.Error(err)
		return
	}
	f := os.NewFile(uintptr(duplicate), "channel")
	defer f.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "greet"), "STAND_IN="+strconv.Itoa(child))
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}

// A stand-in that can't take over what it gets ends. A normal start would be that of a second main
// process.
func TestStandInWithoutState(t *testing.T) {
	for name, s := range map[string]start{
		"carrier can't be read": {variable: "generation=4,channel=%,carrier=%,"},
		"main process hangs up": {variable: "generation=4,channel=%,", greet: func(_ *testing.T, own, _ int) { syscall.Shutdown(own, syscall.SHUT_WR) }},
	} {
		t.Run(name, func(t *testing.T) {
			said, err := s.run(t)
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(said, "stand-in") {
				t.Errorf("the child says %q, %v", said, err)
			}
		})
	}
}
