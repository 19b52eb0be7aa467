//go:build unix

// Package early starts children before the library is initialised: it needs nothing
// but packages os and syscall, so it is initialised as soon as those are. Only a
// process of its scenario does so.
package early

import (
	"os"
	"strings"
	"syscall"
	"time"
)

// Scenario is the name of the scenario.
const Scenario = "started before the snapshot"

// Began is when this package was initialised.
var Began = time.Now()

// Children are the PIDs of a child that lives and of one that exits.
var Children = start()

func start() (pids []int) {
	if os.Getenv("AUTORESTART_TEST_HELPER") != "scenario" ||
		os.Getenv("AUTORESTART_TEST_SCENARIO") != Scenario || os.Getenv("AUTORESTART_TEST_IMAGE") != "2" {
		return nil
	}
	for _, kind := range []string{"live", "exit 3"} {
		env := []string{"AUTORESTART_TEST_HELPER=child", "AUTORESTART_TEST_CHILD=" + kind}
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, "AUTORESTART_") { // of two values, a Go program takes the first
				env = append(env, v)
			}
		}
		pid, err := syscall.ForkExec(os.Args[0], os.Args[:1], &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}})
		if err != nil {
			panic(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
