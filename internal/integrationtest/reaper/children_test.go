//go:build unix

package reaper_test

import (
	"bufio"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// childEnv names what a child of a scenario does, a key of children.
const childEnv = "AUTORESTART_TEST_CHILD"

// children are what a child of a scenario can do. Each calls ready as soon as it
// has made its arrangements.
var children = map[string]func(ready func()){
	"exit 3": func(ready func()) { ready(); os.Exit(3) },
	"live":   func(ready func()) { ready(); select {} },
	"ignore": func(ready func()) {
		signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
		ready()
		select {}
	},
	// exits with 7 when it is asked to
	"polite": func(ready func()) {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGHUP, syscall.SIGTERM)
		ready()
		<-c
		os.Exit(7)
	},
}

const (
	childHelper = "child"
	readyFD     = 3 // where a child says that it is ready
)

var (
	_ = testprocess.RegisterHelper(childHelper, func() {
		do := children[os.Getenv(childEnv)]
		if do == nil {
			fail("no such child")
		}
		go func() { // don't outlive a test that has gone wrong for long
			time.Sleep(30 * time.Minute)
			os.Exit(99)
		}()
		do(func() {
			ready := os.NewFile(readyFD, "ready")
			ready.Write([]byte("r"))
			ready.Close()
		})
	})
	_ = testprocess.UseHelper(nil, childHelper) // by scenarios, which have no test at hand
)

func childCommand(kind string) (args, env []string) {
	env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		// Of two values, a Go program takes the first.
		return strings.HasPrefix(v, testprocess.HelperEnv+"=") || strings.HasPrefix(v, childEnv+"=")
	})
	return os.Args[:1], append(env, testprocess.HelperEnv+"="+childHelper, childEnv+"="+kind)
}

// startChild starts a child that no part of this process keeps anything of, and
// returns when it is ready.
func startChild(kind string) int { return startChildAttr(kind, nil) }

func startChildAttr(kind string, sys *syscall.SysProcAttr) int {
	pid, _ := startTelling(kind, sys)
	return pid
}

// startTelling returns what the child has told by tell before it was ready, too.
func startTelling(kind string, sys *syscall.SysProcAttr) (pid, told int) {
	args, env := childCommand(kind)
	return startReady(kind, args, env, sys)
}

func startReady(kind string, args, env []string, sys *syscall.SysProcAttr) (pid, told int) {
	r, w, err := os.Pipe()
	check(err == nil, err)
	null, err := os.Open(os.DevNull)
	check(err == nil, err)
	pid, err = syscall.ForkExec(args[0], args, &syscall.ProcAttr{
		Env:   env,
		Files: []uintptr{null.Fd(), null.Fd(), 2, w.Fd()},
		Sys:   sys,
	})
	check(err == nil, "starting a child:", err)
	w.Close()
	null.Close()
	defer testprocess.LimitIO(r, time.Minute)()
	line, err := bufio.NewReader(r).ReadString('r')
	check(err == nil, "child", kind, "did not get ready:", err)
	r.Close()
	told, _ = strconv.Atoi(strings.TrimSuffix(line, "r"))
	return pid, told
}

// startOwn starts a child by os/exec.
func startOwn(kind string) *exec.Cmd {
	args, env := childCommand(kind)
	cmd := exec.Command(args[0])
	cmd.Env = env
	r, w, err := os.Pipe()
	check(err == nil, err)
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	check(err == nil, "starting a child by os/exec:", err)
	w.Close()
	defer testprocess.LimitIO(r, time.Minute)()
	_, err = bufio.NewReader(r).ReadByte()
	check(err == nil, "child", kind, "did not get ready:", err)
	r.Close()
	return cmd
}

func noteChild(key, kind string) { note(key, strconv.Itoa(startChild(kind))) }

// noteZombie starts a child that exits with 3, and where that can be seen waits
// until it has.
func noteZombie(key string) {
	pid := startChild("exit 3")
	note(key, strconv.Itoa(pid))
	eventually("a zombie", func() bool { return mayBeZombie(pid) })
}

// gone reports whether no process has the PID, not even as a zombie.
func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }
