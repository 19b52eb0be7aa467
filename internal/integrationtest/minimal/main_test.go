//go:build linux && !autorestart_portable

// Package minimal_test has the tests of whole restarts on systems that lack something: an old
// kernel, no /proc, no file to write. docs/minimal-systems.md has what they show.
package minimal_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/sockets"
	"github.com/autorestart-go/autorestart/verify"
)

func TestMain(m *testing.M) { daemontest.Main(m, map[string]func(){"service": service}) }

// service is a daemon with everything that this library has. It serves HTTP, and says its
// address when it is ready.
func service() {
	defer autorestart.RollbackUnlessReady()
	if len(os.Args) > 1 && os.Args[1] == "-check" {
		os.Exit(0)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	r := &autorestart.Restarter{Logger: slog.Default()}
	r.ReadyTimeout, _ = time.ParseDuration(os.Getenv(program.ReadyEnv))
	if os.Getenv(program.VerifyEnv) != "" {
		r.Verify = verify.Run(time.Minute, "-check")
	}
	go r.Run(context.Background())
	version := daemontest.Version()
	if version == program.Panics {
		panic("this version panics")
	}
	ln := daemontest.Must(sockets.Listen("tcp", "127.0.0.1:0"))
	http.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, version) })
	go httpserve.Serve(new(http.Server), ln)
	autorestart.State("state") // Ready drops what was not read
	autorestart.Ready()
	daemontest.Say("serving", ln.Addr())
	daemontest.Obey(r, commands)
}

var commands = map[string]func(argument string){
	"set-state": func(value string) {
		autorestart.SetState("state", []byte(value))
		daemontest.Say("done", "")
	},
	"get-state": func(string) {
		value, ok := autorestart.State("state")
		daemontest.Say("done", fmt.Sprintf("%s, %t", value, ok))
	},
	"rolled-back": func(string) { daemontest.Say("done", autorestart.RolledBack()) },
	// start-child starts a child that the next image inherits.
	"start-child": func(string) {
		cmd := exec.Command("sleep", "1000")
		daemontest.Say("done", errors.Join(cmd.Start()))
	},
	// reap ends the inherited children, and says how each has ended.
	"reap": func(string) {
		reaper := autorestart.Reaper{
			Escalation: []autorestart.EscalationStep{{Signal: syscall.SIGTERM}},
			Reaped:     func(e autorestart.ChildExit) { daemontest.Say("reaped", e) },
			Logger:     slog.Default(),
		}
		go func() { daemontest.Say("end", reaper.Run(context.Background())) }()
	},
	// orphan leaves an orphan behind, of a session of its own, and says when it is reaped.
	"orphan": func(string) {
		orphans := autorestart.Orphans{
			Subreaper: true,
			Reaped:    func(e autorestart.ChildExit) { daemontest.Say("orphan", e) },
			Logger:    slog.Default(),
		}
		// Before Run does it. Not every emulator knows it.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			daemontest.Say("orphan", err)
			return
		}
		go orphans.Run(context.Background())
		daemontest.Must(0, exec.Command("setsid", "sh", "-c", "sleep 0.1 &").Run())
	},
}
