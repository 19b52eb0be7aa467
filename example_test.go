package autorestart_test

import (
	"context"
	"log"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart"
)

// A version that panics, returns or is not ready in time is rolled back.
func ExampleReady() {
	defer autorestart.RollbackUnlessReady()
	if err := autorestart.RolledBack(); err != nil {
		log.Print(err) // why this version runs again
	}
	restarter := autorestart.Restarter{ReadyTimeout: 10 * time.Second}
	go restarter.Run(context.Background())

	if _, err := os.ReadFile("/etc/service.conf"); err != nil {
		err = autorestart.Rollback(err) // returns only if there is no version to go back to
		log.Print(err)
		return
	}
	autorestart.Ready()
	// Serve.
}

// A counter that goes on counting after a restart.
func ExampleSetState() {
	var count int
	if b, ok := autorestart.State("count"); ok {
		count, _ = strconv.Atoi(string(b))
	}
	restarter := autorestart.Restarter{
		BeforeExec: func(context.Context) error { // when nothing changes it any more
			autorestart.SetState("count", []byte(strconv.Itoa(count)))
			return nil
		},
	}
	go restarter.Run(context.Background())
	autorestart.Ready()
	// Count.
}

// The write end of a pipe survives, so that the reader at the other end never sees
// the end of the file.
func ExamplePass() {
	w, err := autorestart.Inherited("audit")
	if os.IsNotExist(err) {
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
		if err != nil {
			continue // adopted or reaped already
		}
		go func() {
			e, err := worker.Wait(context.Background())
			log.Printf("worker %d: %v, %v", worker.PID(), e, err)
		}()
	}
	autorestart.CleanUpChildZombies()
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
