package autorestart_test

import (
	"context"
	"log"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart"
)

// A version that panics, returns or is not ready in time is taken back.
func ExampleReady() {
	defer autorestart.RollbackUnlessReady()
	if err := autorestart.RolledBack(); err != nil {
		log.Print(err) // this version runs again, and that is why
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

// A counter that no restart sets back.
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

// The write end of a pipe, and with it whoever reads from the other, survives.
func ExamplePass() {
	w, err := autorestart.Inherited("audit")
	if os.IsNotExist(err) {
		var r *os.File
		if r, w, err = os.Pipe(); err == nil {
			defer r.Close() // after starting what reads from it
			err = autorestart.Pass("audit", w)
		}
	}
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	autorestart.Ready()
}

// consumer takes jobs from a queue, one after another. Who works on one, or has it
// rest, has put something into the channel, which holds one.
type consumer struct {
	turn    chan struct{}
	resting bool
}

func (c *consumer) Quiesce() {}

func (c *consumer) Drain(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		c.resting = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *consumer) Resume() {
	if c.resting {
		c.resting = false
		<-c.turn
	}
}

// What takes on work comes to rest before the exec.
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
	autorestart.Ready()
	for range reload {
		log.Print("reading the configuration")
	}
}
