package autorestart_test

import (
	"context"
	"log"
	"log/slog"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart"
)

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

// Workers are kept over a restart, and everything else that the old version has
// left behind is cleaned up.
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
			continue // somebody else has it
		}
		go func() {
			e, err := worker.Wait(context.Background())
			log.Printf("worker %d: %v, %v", worker.PID(), e, err)
		}()
	}
	autorestart.CleanUpChildZombies()
}

// What process 1 of a container has to do beside its work.
func ExampleOrphans() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orphans := autorestart.Orphans{Logger: slog.Default()}
	go func() {
		log.Print(orphans.Run(ctx))
	}()
	// … and exec.Command works as ever.
}
