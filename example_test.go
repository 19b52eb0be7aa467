package autorestart_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart"
)

func serve() { select {} } // the rest of the program

// The program restarts as soon as a new version of it is there, and ends what the version
// before has left running. Open connections are closed, and a version that fails is not
// rolled back; see the example of Restarter.
func Example() {
	go autorestart.RestartOnChange()
	autorestart.CleanUpChildZombies()
	serve()
}

// A new version finishes its start within 10 seconds, or the previous one runs again. What
// has begun when a restart does has 30 seconds.
func ExampleRestarter() {
	defer autorestart.RollbackUnlessReady()
	restarter := autorestart.Restarter{
		ReadyTimeout: 10 * time.Second,
		DrainTimeout: 30 * time.Second,
		Logger:       slog.Default(),
	}
	go func() { log.Print(restarter.Run(context.Background())) }()
	// Open listeners, read the configuration.
	autorestart.Ready()
	serve()
}

// No client waits for a restart, however long a request lasts or a version takes to start. Two
// versions run side by side meanwhile, so jobs that must not run twice are left to the main process.
func ExampleStandIn() {
	defer autorestart.RollbackUnlessReady()
	restarter := autorestart.Restarter{
		Overlap:      true,
		DrainTimeout: time.Hour,
		BeforeExec: func(_ context.Context, plan *autorestart.ExecPlan) error {
			if plan.StandIn {
				return nil // this version goes on serving
			}
			return os.Remove("/run/service.lock")
		},
	}
	go func() { log.Print(restarter.Run(context.Background())) }()
	if !autorestart.StandIn() {
		go func() {
			for range time.Tick(time.Hour) {
				log.Print("a job that must not run twice")
			}
		}()
	}
	autorestart.Ready()
	serve()
}

// A program that tells how its restarts go, for example to a log of deploys.
func ExampleEvent() {
	restarter := autorestart.Restarter{
		ReadyTimeout: 10 * time.Second,
		Observe: func(e autorestart.Event) {
			switch e.Kind {
			case autorestart.EventRejected:
				if rejected, ok := errors.AsType[*autorestart.RejectedError](e.Err); ok && rejected.Retryable {
					return // it may be accepted soon
				}
				fmt.Println("not executed:", e.New, e.Err)
			case autorestart.EventRestarting:
				for _, what := range e.Unfinished {
					fmt.Println("cut off:", what)
				}
			case autorestart.EventReady:
				fmt.Println(e.New, "is ready after", e.Times.Ready.Sub(e.Times.Seen))
			case autorestart.EventRolledBack:
				fmt.Println(e.Old, "has failed:", e.Err)
			}
		},
	}
	go func() { log.Print(restarter.Run(context.Background())) }()
	autorestart.Ready()
	serve()
}

// An EventKind has a name, as the label of a metric.
func ExampleEventKind() {
	var kind autorestart.EventKind = autorestart.EventRolledBack
	fmt.Println(kind)
	// Output:
	// rolled back
}

// A program that tells how it notices new versions, for example on a page of its state.
func ExampleRestarter_Mode() {
	var restarter autorestart.Restarter
	go func() { log.Print(restarter.Run(context.Background())) }()
	http.HandleFunc("/state", func(w http.ResponseWriter, _ *http.Request) {
		var mode autorestart.WatchMode = restarter.Mode()
		fmt.Fprintln(w, "new versions are noticed by", mode)
		if mode.Reason != nil {
			fmt.Fprintln(w, "because", mode.Reason)
		}
	})
	log.Panic(http.ListenAndServe("localhost:8080", nil))
}

// A file that is no version of the program is not executed. The error tells what it is, and
// whether it is worth another attempt.
func ExampleRestarter_Restart() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app")
	if err := os.WriteFile(path, []byte("a text, and no program at all\n"), 0o755); err != nil {
		log.Panic(err)
	}
	restarter := autorestart.Restarter{Path: path}
	err = restarter.Restart(context.Background())
	if rejected, ok := errors.AsType[*autorestart.RejectedError](err); ok {
		fmt.Println("rejected, worth another attempt:", rejected.Retryable)
	}
	// Output:
	// rejected, worth another attempt: false
}

// A handler asks for a restart. It can't wait for it, because the restart waits for the
// handler.
func ExampleRestarter_Restart_handler() {
	var restarter autorestart.Restarter
	http.HandleFunc("/restart", func(w http.ResponseWriter, r *http.Request) {
		if err := restarter.Restart(r.Context()); errors.Is(err, autorestart.ErrInHandler) {
			go func() { log.Print(restarter.Restart(context.Background())) }()
		}
		fmt.Fprintln(w, "restarting")
	})
	log.Panic(http.ListenAndServe("localhost:8080", nil))
}

// A batch program restarts between two jobs, and not in the middle of one.
func ExampleNotifyOnChange() {
	changed := autorestart.NotifyOnChange(false)
	for range 1000 {
		select {
		case <-changed:
			autorestart.RestartViaExec() // does not return
		default:
		}
		// Do a job.
	}
}

// SIGHUP restarts the program, SIGTERM ends it.
func ExampleNotifyOnSighup() {
	hup, term := autorestart.NotifyOnSighup(), autorestart.NotifyOnSigterm()
	go serve()
	for {
		select {
		case <-hup:
			autorestart.RestartViaExec()
		case <-term:
			return
		}
	}
}

// A program that watches another executable: here, one that it starts as its child.
func ExampleWatcher() {
	watcher := autorestart.Watcher{Path: "/usr/local/bin/worker", Logger: slog.Default()}
	defer watcher.Close()
	for {
		var change autorestart.Change
		change, err := watcher.Next(context.Background())
		if err != nil {
			log.Print(err)
			return
		}
		log.Printf("%s: %v replaces %v", change.Path, change.New, change.Old)
	}
}

// The name of a build is its version, or else a part of its build ID.
func ExampleBuildInfo() {
	fmt.Println(autorestart.BuildInfo{ID: "main/hash", Module: "example.org/app", Version: "v1.2.3"})
	fmt.Println(autorestart.BuildInfo{ID: "main/hash", Module: "example.org/app", Version: "(devel)"})
	fmt.Println(autorestart.BuildInfo{})
	// Output:
	// v1.2.3
	// hash
	// unknown
}

// The times of the last restart, for monitoring. The start time of the process does not
// tell of restarts, because the process is the same.
func ExampleLastRestart() {
	if autorestart.Generation() == 0 {
		fmt.Println("started afresh")
		return
	}
	var times autorestart.RestartTimes = autorestart.LastRestart()
	fmt.Println("clients have waited for", times.Ready.Sub(times.Quiesced))
	// Output:
	// started afresh
}

// A version that panics, returns or is not ready in time is rolled back.
func ExampleReady() {
	defer autorestart.RollbackUnlessReady()
	if err := autorestart.RolledBack(); err != nil {
		log.Print(err) // why this version runs again
	}
	restarter := autorestart.Restarter{ReadyTimeout: 10 * time.Second}
	go func() { log.Print(restarter.Run(context.Background())) }()

	if _, err := os.ReadFile("/etc/service.conf"); err != nil {
		err = autorestart.Rollback(err) // returns only if there is no version to go back to
		log.Print(err)
		return
	}
	autorestart.Ready()
	// Serve.
}

// A version that is not on trial can't be rolled back: it was started afresh, for example.
func ExampleRollback() {
	if err := autorestart.Rollback(errors.New("no such table")); errors.Is(err, autorestart.ErrNoRollback) {
		fmt.Println("this is the only version")
	}
	// Output:
	// this is the only version
}

// The version that runs again reports the one that failed.
func ExampleRolledBack() {
	if failed, ok := errors.AsType[*autorestart.RollbackError](autorestart.RolledBack()); ok {
		log.Printf("version %d of this process has failed: %s", failed.Generation, failed.Reason)
	}
}

// A counter that goes on counting after a restart.
func ExampleSetState() {
	var count int
	if b, ok := autorestart.State("count"); ok {
		count, _ = strconv.Atoi(string(b))
	}
	restarter := autorestart.Restarter{
		BeforeExec: func(context.Context, *autorestart.ExecPlan) error { // when nothing changes it any more
			autorestart.SetState("count", []byte(strconv.Itoa(count)))
			return nil
		},
	}
	go func() { log.Print(restarter.Run(context.Background())) }()
	autorestart.Ready()
	// Count.
}

// The new version gets what the EnvironmentFile of its unit says by now. The old version would get
// its own environment again in a rollback.
func ExampleExecPlan() {
	restarter := autorestart.Restarter{
		BeforeExec: func(_ context.Context, plan *autorestart.ExecPlan) error {
			b, err := os.ReadFile("/etc/default/service")
			if err != nil {
				return err // the restart is called off
			}
			for line := range strings.Lines(string(b)) {
				line = strings.TrimSpace(line)
				if line != "" && line[0] != '#' {
					plan.Env = append(plan.Env, line) // of several with one name the last counts
				}
			}
			return nil
		},
	}
	if err := restarter.Run(context.Background()); err != nil {
		log.Print(err)
	}
}

// Of the machines that share a directory, one restarts at a time: it makes a file there, and removes the
// file when it is ready, also after a crash. A machine whose new version was rolled back keeps the file,
// so that no other machine executes that version.
func ExampleGate() {
	var gate autorestart.Gate = fileGate("/mnt/shared/restarting")
	restarter := autorestart.Restarter{ReadyTimeout: 10 * time.Second, Gate: gate}
	if err := restarter.Run(context.Background()); err != nil {
		log.Print(err)
	}
}

type fileGate string

func (g fileGate) Acquire(ctx context.Context, _ autorestart.Change, _ *os.File) ([]byte, error) {
	host, err := os.Hostname()
	for err == nil {
		err = os.Symlink(host, string(g)) // fails if the file exists
		if held, _ := os.Readlink(string(g)); held == host {
			return nil, nil
		}
		if errors.Is(err, os.ErrExist) {
			err = nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return nil, err
}

func (g fileGate) Release(_ context.Context, r autorestart.GateResult) error {
	host, err := os.Hostname()
	if held, _ := os.Readlink(string(g)); err != nil || held != host || r.Outcome == autorestart.GateRolledBack {
		return err
	}
	return os.Remove(string(g))
}

func ExampleGateResult() {
	r := autorestart.GateResult{Outcome: autorestart.GateRolledBack, Err: errors.New("no database")}
	fmt.Println(r.Outcome, "because of:", r.Err)
	// Output: rolled back because of: no database
}

func ExampleGateOutcome() {
	for outcome := autorestart.GateOutcome(1); outcome <= autorestart.GateCalledOff; outcome++ {
		fmt.Println(outcome)
	}
	// Output:
	// ready
	// rolled back
	// called off
}

// Many machines get a version in the same second, and restart within ten minutes.
func ExampleRandomDelay() {
	restarter := autorestart.Restarter{Gate: autorestart.RandomDelay(10 * time.Minute)}
	if err := restarter.Run(context.Background()); err != nil {
		log.Print(err)
	}
}

// The write end of a pipe survives, so that the reader at the other end never sees
// the end of the file.
func ExamplePass() {
	w, err := autorestart.Inherited("audit")
	if errors.Is(err, os.ErrNotExist) {
		var r *os.File
		if r, w, err = os.Pipe(); err == nil {
			defer r.Close() // after starting the program that reads from it
			err = autorestart.Pass("audit", w)
		}
	}
	if err != nil {
		log.Panic(err)
	}
	defer w.Close()
	autorestart.Ready()
}

// A file that is not needed any more is not passed on. This version has inherited none: it
// was started afresh.
func ExampleUnpass() {
	r, w, err := os.Pipe()
	if err != nil {
		log.Panic(err)
	}
	defer r.Close()
	defer w.Close()
	if err := autorestart.Pass("example", w); err != nil {
		log.Panic(err)
	}
	autorestart.Unpass("example")
	_, err = autorestart.Inherited("example")
	fmt.Println("not there:", errors.Is(err, os.ErrNotExist))
	fmt.Println("inherited:", autorestart.InheritedFiles())
	// Output:
	// not there: true
	// inherited: []
}

// consumer takes jobs from a queue, one after another. The channel holds one value:
// while a job is done, and while the consumer is drained.
type consumer struct {
	turn    chan struct{}
	drained bool
}

func (c *consumer) Quiesce() {}

func (c *consumer) Drain(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		c.drained = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *consumer) Resume() {
	if c.drained {
		c.drained = false
		<-c.turn
	}
}

// The consumer finishes its job before the exec, and takes no other.
func ExampleRegisterDrainer() {
	c := &consumer{turn: make(chan struct{}, 1)}
	unregister := autorestart.RegisterDrainer(c)
	defer unregister()
	// For each job, put something into c.turn, and take it out again.
}

// journal is a Drainer whose entries are written in batches. The servers still write entries while they
// are drained, so it comes after them.
type journal struct{ entries chan string }

func (j *journal) DrainOrder() int { return 10 } // the servers have 0
func (j *journal) Quiesce()        {}            // no one writes any more
func (j *journal) Resume()         {}

func (j *journal) Drain(ctx context.Context) error {
	for len(j.entries) > 0 {
		select {
		case entry := <-j.entries:
			log.Print("written: ", entry)
		case <-ctx.Done():
			return fmt.Errorf("%d entries are not written", len(j.entries))
		}
	}
	return nil
}

// The journal works until everything that writes to it has been drained.
func ExampleRegisterDrainer_order() {
	autorestart.RegisterDrainer(&journal{entries: make(chan string, 100)})
}

var _ autorestart.Drainer = new(consumer)

// A job that takes long ends early when a restart begins.
func ExampleDraining() {
	for {
		select {
		case <-autorestart.Draining():
			return // the next version does the rest
		case <-time.After(time.Second):
			// Do a part of the job.
		}
	}
}

// A SIGHUP that comes during a restart does not end the process.
func ExampleNotify() {
	reload := make(chan os.Signal, 1)
	autorestart.Notify(reload, syscall.SIGHUP)
	defer autorestart.StopNotify(reload)
	autorestart.Ready()
	for range reload {
		log.Print("reading the configuration")
	}
}

// A schedule that ends with SIGKILL, and a report of every child.
func ExampleReaper() {
	r := autorestart.Reaper{
		Escalation: []autorestart.EscalationStep{
			{Signal: syscall.SIGTERM, After: 10 * time.Second},
			{Signal: syscall.SIGKILL, After: 30 * time.Second},
		},
		Reaped: func(e autorestart.ChildExit) { log.Printf("%s (%d): %v, after %v", e.Command, e.PID, e, e.Sent) },
		Logger: slog.Default(),
	}
	if err := r.Run(context.Background()); err != nil {
		log.Print(err)
	}
}

// Children of a terminal session are left alone. All others get the default signals, and at
// last one that they can't ignore.
func ExampleReaper_skip() {
	last := autorestart.EscalationStep{Signal: syscall.SIGKILL, After: time.Minute}
	r := autorestart.Reaper{
		Skip:       func(c autorestart.Child) bool { return c.Command == "login" },
		Escalation: append(autorestart.DefaultEscalation(), last),
	}
	for _, step := range r.Escalation {
		fmt.Printf("%v later: %v\n", step.After, step.Signal)
	}
	// Output:
	// 5s later: hangup
	// 2m0s later: interrupt
	// 1m0s later: terminated
	// 1m0s later: killed
}

// The seven functions need no set-up, and this one is silent, too.
func ExampleCleanUpChildZombiesQuietly() {
	autorestart.CleanUpChildZombiesQuietly()
	serve()
}

// An exit reads like that of os/exec.
func ExampleChildExit() {
	fmt.Println(autorestart.ChildExit{PID: 4711, Code: 3})
	fmt.Println(autorestart.ChildExit{PID: 4711, Code: -1, Signal: syscall.SIGKILL})
	// Output:
	// exit status 3
	// signal: killed
}

// Workers are kept over a restart. All other children of the version before are
// cleaned up.
func ExampleAdopt() {
	children, err := autorestart.InheritedChildren()
	if err != nil {
		log.Print(err)
	}
	for _, c := range children {
		if len(c.Args) == 0 || c.Args[0] != "worker" {
			continue
		}
		worker, err := autorestart.Adopt(c.PID)
		if errors.Is(err, autorestart.ErrNotInherited) {
			continue // adopted or reaped already
		} else if err != nil {
			log.Print(err)
			continue
		}
		go waitFor(worker)
	}
	autorestart.CleanUpChildZombies()
}

func waitFor(worker *autorestart.ChildProcess) {
	exit, err := worker.Wait(context.Background())
	log.Printf("worker %d: %v, %v", worker.PID(), exit, err)
}

// Process 1 of a container waits for orphans, beside its own work.
func ExampleOrphans() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orphans := autorestart.Orphans{Logger: slog.Default()}
	go func() {
		log.Print(orphans.Run(ctx))
	}()
	// … and exec.Command works as ever.
}

// shortLogger writes warnings and errors by package log.
type shortLogger struct{}

func (shortLogger) Info(string, ...any) {}
func (shortLogger) Warn(msg string, args ...any) {
	log.Print(append([]any{"warning: ", msg, " "}, args...)...)
}
func (shortLogger) Error(msg string, args ...any) {
	log.Print(append([]any{"error: ", msg, " "}, args...)...)
}

// A program without log/slog has a logger of three methods.
func ExampleLogger() {
	var logger autorestart.Logger = shortLogger{}
	restarter := autorestart.Restarter{Logger: logger}
	go func() { log.Print(restarter.Run(context.Background())) }()
	serve()
}
