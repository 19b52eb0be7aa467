//go:build !autorestart_portable

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/status"
	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Versions of the daemon that differ from the others.
const (
	unready          = 100 + iota // calls Rollback
	panicking                     // panics before it is ready
	unhealthy                     // its Check fails
	refused                       // Verify of the version before rejects it
	pageless                      // does not adopt the status page
	exiting                       // ends before it is ready
	slow                          // is ready when the file goOn exists
	withoutRestarter              // runs none
)

const healthTimeout = 300 * time.Millisecond

// Files beside the executable, by which a test controls the daemon.
const (
	goOn      = "go-on"      // a slow version is ready if it exists
	holdDrain = "hold-drain" // no drain ends while it exists
	holdExec  = "hold-exec"  // BeforeExec waits for the end of the restart if it exists
)

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(os.Args[0]), name))
	return err == nil
}

// work is a Drainer whose work ends when the test says so.
type work struct{}

func (work) Quiesce() {}
func (work) Resume()  {}
func (work) Drain(ctx context.Context) error {
	for exists(holdDrain) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

// runDaemon is the main of a daemon that keeps a status page. Its test has it restarted by the
// command. If health is not zero, each version is on trial for that time.
func runDaemon(health time.Duration) {
	defer autorestart.RollbackUnlessReady()
	version := daemontest.Version()
	if version == pageless {
		syscall.Close(int(image.Current().StatusPage.Load()))
		autorestart.Ready()
		daemontest.Obey(new(autorestart.Restarter), nil)
		return
	}
	tracker := track(version)
	r := &autorestart.Restarter{
		HealthTimeout: health, ReadyTimeout: testprocess.Timeout,
		Verify: func(_ context.Context, exe *os.File) error {
			if isVersion(exe, refused) {
				return errors.New("it has no signature")
			}
			return nil
		},
		BeforeExec: func(ctx context.Context, _ *autorestart.ExecPlan) error {
			if exists(holdExec) {
				daemontest.Say("held", "before the exec")
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		},
		Check: func(context.Context) error {
			if version == unhealthy {
				return errors.New("the database does not answer")
			}
			return nil
		},
	}
	switch version {
	case unready:
		autorestart.Rollback(errors.New("port 80 is taken\x1b[31m"))
	case panicking:
		panic("no configuration")
	case exiting:
		os.Exit(3)
	case slow:
		for !exists(goOn) {
			time.Sleep(time.Millisecond)
		}
	}
	autorestart.RegisterDrainer(work{})
	go tracker.Serve(context.Background(), r.Restart)
	if health > 0 {
		// A Run has the Check called. This one watches a path at which nothing is deployed.
		runs := make(chan struct{})
		begin := sync.OnceFunc(func() { close(runs) })
		checked := &autorestart.Restarter{
			Path: os.Args[0] + ".unused", Check: r.Check,
			Observe: func(autorestart.Event) { begin() },
		}
		go checked.Run(context.Background())
		<-runs // from now on Check is known
	}
	autorestart.Ready()
	daemontest.Obey(r, nil)
}

// track returns the status of this image, whose restarts the command asks for.
func track(version int) *statuspage.Tracker {
	return daemontest.Must(status.Of(image.Current(), status.About{
		Version: "version " + strconv.Itoa(version), Started: autorestart.LastRestart().Started,
	}))
}

// isVersion reports whether an executable is that version.
func isVersion(exe *os.File, version int) bool {
	info, err := exe.Stat()
	if err != nil {
		return false
	}
	b := make([]byte, daemontest.TrailerSize)
	exe.ReadAt(b, info.Size()-int64(len(b)))
	return bytes.Equal(b, daemontest.Trailer(version))
}

func TestMain(m *testing.M) {
	testprocess.RegisterHelper("autorestart", main)
	daemontest.Main(m, map[string]func(){
		"daemon":   func() { runDaemon(0) },
		"on trial": func() { runDaemon(healthTimeout) },
		"deployed": runDeployed,
		"ready first": func() {
			autorestart.Ready()
			r := new(autorestart.Restarter)
			go r.Run(context.Background())
			daemontest.Obey(r, nil)
		},
		"pageless":  runPageless,
		"watching":  runWatching,
		"stranger":  func() { daemontest.Obey(new(autorestart.Restarter), nil) },
		"from 2050": fromLater,
		"in a unit": func() {
			os.Stdin, noCommands, _ = os.Pipe()
			runDaemon(0)
		},
	})
}

// noCommands is never closed: a daemon in a unit gets no commands, and ends by a signal.
var noCommands *os.File

// fromLater is a daemon of a later release, whose page has another format.
func fromLater() {
	page := daemontest.Must(statuspage.Create())
	daemontest.Must(page.File().WriteAt([]byte("autorestart status page, format 7\n"), 0))
	daemontest.Obey(new(autorestart.Restarter), nil)
}
