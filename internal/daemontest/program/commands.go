//go:build linux

package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/handover"
)

// commands are those of the daemon, beside the ones of [daemontest.Obey].
var commands = map[string]func(argument string){
	"watch":  func(string) { go watch() },
	"exec":   func(string) { go autorestart.RestartViaExec() },
	"leave":  func(state string) { leaves <- "leave " + state },
	"refuse": func(reason string) { leaves <- "refuse " + reason },
	"verify": func(verdict string) { verdicts <- verdict },
	"state":  func(string) { daemontest.SayStatus("state") },
	// clear-env KEY gives no answer: a restart may follow at once.
	"clear-env": func(key string) { os.Unsetenv(key) },
	// become-ready is ready without an answer: a restart may follow at once.
	"become-ready": func(string) { autorestart.Ready() },
	// become-unhealthy has Check fail, without an answer: a rollback may follow at once.
	"become-unhealthy": func(string) { setCheck("bad") },
	// restart-from PATH restarts from another path.
	"restart-from": func(path string) {
		r := autorestart.Restarter{Path: path}
		go func() { daemontest.Say("failed", r.Restart(context.Background())) }()
	},
	// run-failing watches, with an exec that fails each time, and says when the daemon is
	// quiesced.
	"run-failing": func(string) {
		autorestart.RegisterDrainer(sayQuiesced{})
		r := autorestart.Restarter{Logger: logger(), PollInterval: pollInterval(), BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
			return os.Setenv(tooLong, strings.Repeat("x", 1<<20))
		}}
		go func() { daemontest.Say("failed", r.Run(context.Background())) }()
	},
	"notify":  func(mode string) { changes = autorestart.NotifyOnChange(mode == "poll"); daemontest.Say("done", "") },
	"receive": func(string) { go func() { <-changes; daemontest.Say("received", "") }() },
}

// changes is the channel of NotifyOnChange.
var changes chan bool

// answers are the commands that answer with the event "done" and a text.
var answers = map[string]func(argument string) string{
	// pending counts the notifications that have not been received.
	"pending": func(string) string {
		time.Sleep(50 * time.Millisecond) // a second one would need to be made first
		return strconv.Itoa(len(changes))
	},
	// fill-env KEY N sets a variable to a value of N bytes.
	"fill-env": func(argument string) string {
		key, size, _ := strings.Cut(argument, " ")
		n, err := strconv.Atoi(size)
		os.Setenv(key, strings.Repeat("x", n))
		return fmt.Sprint(err)
	},
	// leave-environment N fills the environment until an exec takes N more bytes, and no more.
	"leave-environment": func(argument string) string {
		n, err := strconv.Atoi(argument)
		if err == nil {
			err = leaveEnvironment(n)
		}
		return fmt.Sprint(err)
	},
	"chdir": func(dir string) string { return fmt.Sprint(os.Chdir(dir)) },
	// nofile returns the limit of open files of a child.
	"nofile": func(string) string { return output("ulimit -Sn") },
	// child-limits returns all limits of a child.
	"child-limits": func(string) string { return output("cat /proc/self/limits") },
	// set-nofile N sets the soft limit of open files, to the hard one at most.
	"set-nofile": func(soft string) string {
		var limit unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
		limit.Cur = min(limit.Max, daemontest.Must(strconv.ParseUint(soft, 10, 64)))
		return fmt.Sprint(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	},
	// child-sees returns the environment and the descriptors of a child.
	"child-sees": func(string) string {
		return output("env | grep -v ^" + daemontest.GenerationEnv + "; ls /proc/self/fd")
	},
	// close-standard closes standard input and error; input is elsewhere from then on.
	"close-standard": func(string) string {
		fd, err := unix.Dup(0)
		os.Setenv(stdinEnv, strconv.Itoa(fd))
		os.Stdin.Close()
		os.Stdin = os.NewFile(uintptr(fd), "stdin")
		return fmt.Sprint(err, os.Stderr.Close())
	},
	"generation": func(string) string { return strconv.Itoa(autorestart.Generation()) },
	"times": func(string) string {
		t := autorestart.LastRestart()
		var steps []string
		for _, at := range []time.Time{t.Seen, t.Judged, t.Quiesced, t.Drained, t.Executed, t.Started, t.Ready} {
			steps = append(steps, strconv.FormatInt(at.UnixNano(), 10))
		}
		return strings.Join(steps, " ")
	},
	// restart-without-memfd restarts as on a kernel without memfd_create, or in a
	// container that may not call it.
	"restart-without-memfd": func(string) string {
		runtime.LockOSThread() // no_new_privs is its own until the filter is there
		err := forcefallback.DenyAll(memfd)
		runtime.UnlockOSThread()
		if err == nil {
			err = new(autorestart.Restarter).Restart(context.Background())
		}
		return err.Error()
	},
	// exec-with HANDOVER CONTENT is an exec as if another version of this library had
	// handed over HANDOVER, in which PID and MANIFEST are put in: a file with CONTENT.
	"exec-with": func(argument string) string {
		value, content, _ := strings.Cut(argument, " ")
		content, err := strconv.Unquote(`"` + content + `"`)
		if err != nil {
			return err.Error()
		}
		manifest, err := os.CreateTemp("", "manifest")
		if err != nil {
			return err.Error()
		}
		os.Remove(manifest.Name())
		if _, err := manifest.WriteString(content); err != nil {
			return err.Error()
		}
		fd, err := unix.FcntlInt(manifest.Fd(), unix.F_DUPFD, 3) // crosses the exec
		if err != nil {
			return err.Error()
		}
		value = strings.NewReplacer("PID", strconv.Itoa(os.Getpid()), "MANIFEST", strconv.Itoa(fd)).Replace(value)
		os.Setenv(handover.Env, value)
		return syscall.Exec("/proc/self/exe", os.Args, os.Environ()).Error()
	},
}

func init() {
	for _, list := range []map[string]func(string) string{answers, passingCommands, rollback, failing, lending, titles, signals, threads, plans, health} {
		for name, answer := range list {
			commands[name] = func(argument string) { daemontest.Say("done", answer(argument)) }
		}
	}
}

// begun is when this image was initialised.
var begun = time.Now()

// sayQuiesced is a Drainer. It says when it is quiesced.
type sayQuiesced struct{}

func (sayQuiesced) Quiesce()                    { daemontest.Say("quiesced", time.Since(begun).String()) }
func (sayQuiesced) Drain(context.Context) error { return nil }
func (sayQuiesced) Resume()                     { os.Unsetenv(tooLong) }

// tooLong is a variable that becomes too long for execve(2) right before the exec.
const tooLong = "TOO_LONG"

// leaveEnvironment fills the environment until an exec takes n more bytes.
func leaveEnvironment(n int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	// fits reports whether execve takes this environment, with a path and arguments as long
	// as ours.
	fits := func() bool {
		const program = "/bin/true"
		cmd := exec.Cmd{Path: strings.Repeat("/", max(0, len(exe)-len(program))) + program, Args: os.Args}
		return !errors.Is(cmd.Run(), syscall.E2BIG)
	}
	const part = 100 << 10 // below the limit of one variable
	name, i := "", 0
	for ; ; i++ {
		name = fmt.Sprint("FILL", i)
		os.Setenv(name, strings.Repeat("x", part))
		if !fits() {
			break
		}
	}
	size := sort.Search(part, func(size int) bool {
		os.Setenv(name, strings.Repeat("x", size))
		return !fits()
	})
	if size <= n {
		return fmt.Errorf("%d bytes are left", size)
	}
	return os.Setenv(name, strings.Repeat("x", size-1-n))
}

// output runs a script and returns its output.
func output(script string) string {
	out, err := exec.Command("/bin/sh", "-c", script).Output()
	if err != nil {
		return fmt.Sprint(string(out), err)
	}
	return strings.TrimSpace(string(out))
}
