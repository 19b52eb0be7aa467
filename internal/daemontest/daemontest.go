//go:build linux

// Package daemontest runs the test binary of a package as a daemon that really
// restarts: copied to a directory of its own, deployed by rename, executed in
// place. The test gives it commands over its standard input, and it tells the test
// of events on its standard output.
//
// The versions of a daemon differ in a line after the end of the ELF file.
package daemontest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Of package testprocess, for tests that import this one with a dot.
const (
	Timeout   = testprocess.Timeout
	HelperEnv = testprocess.HelperEnv
)

var WaitFor = testprocess.WaitFor

// Main is the body of the TestMain of a package. The daemons are programs that the
// test binary can be beside a test, by name. Each begins with the event "start".
func Main(m *testing.M, daemons map[string]func()) {
	for name, main := range daemons {
		testprocess.RegisterHelper(name, func() {
			countGeneration()
			SayStatus("start")
			main()
		})
	}
	testprocess.Main(m)
}

// GenerationEnv holds the number of the image. Each image adds one to it, whether or
// not the library has handed anything over.
const GenerationEnv = "AUTORESTART_TEST_GENERATION"

var (
	generation int
	environ    []string // that this image was started with, without GenerationEnv
)

func countGeneration() {
	generation, _ = strconv.Atoi(os.Getenv(GenerationEnv))
	generation++
	os.Unsetenv(GenerationEnv)
	environ = os.Environ()
	os.Setenv(GenerationEnv, strconv.Itoa(generation))
}

var saying sync.Mutex

// Say tells the test of an event.
func Say(event string, v any) {
	saying.Lock()
	defer saying.Unlock()
	fmt.Printf("%s %q\n", event, fmt.Sprint(v))
}

// SayStatus tells the test of an event, with the status of the daemon.
func SayStatus(event string) {
	Say(event, string(Must(json.Marshal(Self()))))
}

// Must ends the daemon if there is an error.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Obey executes the commands that the test sends: restart, watch, or one of the given
// ones, each a word and an argument. It returns at the end of standard input.
func Obey(r *autorestart.Restarter, commands map[string]func(arg string)) {
	for {
		command, arg, _ := strings.Cut(testprocess.ReadLine(), " ")
		switch f := commands[command]; {
		case f != nil:
			f(arg)
		case command == "restart":
			go func() { Say("failed", r.Restart(context.Background())) }()
		case command == "watch":
			go r.Run(context.Background())
		case command == "":
			return
		default:
			panic("unknown command " + command)
		}
	}
}
