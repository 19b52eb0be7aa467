//go:build linux && !autorestart_portable

package systemd_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/systemd"
)

func TestMain(m *testing.M) {
	Main(m, map[string]func(){"service": serviceMain})
}

// Variables of the daemon.
const (
	readyEnv   = "AUTORESTART_TEST_READY"   // a ReadyTimeout
	overlapEnv = "AUTORESTART_TEST_OVERLAP" // set: Overlap
	checkEnv   = "AUTORESTART_TEST_CHECK"   // what Check does at first: good, bad, panic, hang; no Check if unset
)

// serviceMain is a daemon that notifies systemd. Each version waits for the command "ready", a stand-in does not.
func serviceMain() {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	image.Current().LogTime = testprocess.Timeout
	service := &systemd.Service{Logger: logger}
	check := new(atomic.Value)
	if kind := os.Getenv(checkEnv); kind != "" {
		check.Store(kind)
		service.Check = func(ctx context.Context) error {
			switch check.Load() {
			case "bad":
				return errors.New("it does not work")
			case "panic":
				panic("at a check")
			case "hang":
				select {}
			}
			return nil
		}
	}
	if err := service.Start(); err != nil {
		Say("error", err)
	}
	if autorestart.StandIn() {
		Say("stand-in", os.Getpid())
		autorestart.Ready()
		select {}
	}
	held := make(chan bool)
	r := &autorestart.Restarter{Logger: logger, Overlap: os.Getenv(overlapEnv) != ""}
	r.ReadyTimeout, _ = time.ParseDuration(os.Getenv(readyEnv))
	d := &drainer{quiesced: make(chan bool, 10), release: make(chan bool, 10)}
	Obey(r, map[string]func(string){
		"ready": func(string) { autorestart.Ready() },
		"drainer": func(string) {
			autorestart.RegisterDrainer(d)
			Say("done", "")
		},
		"drained": func(string) { d.release <- true },
		"reject": func(reason string) { // each version, by Verify
			r.Verify = func(context.Context, *os.File) error { return errors.New(unescape(reason)) }
			Say("done", "")
		},
		"call-off": func(reason string) { // each restart, after the drain
			r.BeforeExec = func(context.Context, *autorestart.ExecPlan) error { return errors.New(unescape(reason)) }
			Say("done", "")
		},
		"call-off-later": func(reason string) { // likewise, for a reason that may pass
			r.BeforeExec = func(_ context.Context, plan *autorestart.ExecPlan) error {
				if plan.StandIn {
					return nil
				}
				return &autorestart.RejectedError{Found: reason, Expected: "another time", Retryable: true}
			}
			Say("done", "")
		},
		"hold": func(step string) { // in the next such step, which systemd has been notified of
			image.Current().OnStep(func(s string, _ error) {
				if s == step {
					Say("held", step)
					<-held
				}
			})
			Say("done", "")
		},
		"go-on": func(string) { held <- true },
		"restart-other": func(path string) { // by another Restarter
			other := &autorestart.Restarter{Logger: logger, Path: path}
			go func() { Say("failed", other.Restart(context.Background())) }()
		},
		"stopping": func(string) {
			service.Stopping()
			Say("done", "")
		},
		"fail":  func(reason string) { Say("failed", autorestart.Rollback(errors.New(unescape(reason)))) },
		"check": func(kind string) { check.Store(kind) },
	})
}

// unescape returns a reason with newlines.
func unescape(reason string) string { return strings.ReplaceAll(reason, "|", "\n") }

// A drainer is drained when the test says so.
type drainer struct{ quiesced, release chan bool }

func (d *drainer) Quiesce() { Say("quiesced", "") }
func (d *drainer) Resume()  { Say("resumed", "") }
func (d *drainer) Drain(ctx context.Context) error {
	select {
	case <-d.release:
	case <-ctx.Done():
	}
	return nil
}
