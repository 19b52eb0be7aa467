// Command notifier is a service for units of tests that notifies systemd. SIGHUP and `autorestart reload` restart it.
// SIGUSR1 makes its health check fail, SIGTERM ends it. Its arguments are how long it needs to be drained, and to start
// after a restart. Without the first one nothing is drained. Files beside the executable hold it: see await.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/systemd"
)

var version = "version 0000000001"

// number is that of the version. It is found when the program runs: the compiler must not do it.
func number() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(version, "version "))
	return n
}

// Versions that differ from the others.
const (
	slow   = 500 // does not notice signals before it is ready, while the file "hold-start" exists
	panics = 666 // panics before it is ready
)

func main() {
	defer autorestart.RollbackUnlessReady()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	var sick atomic.Bool
	restarter := &autorestart.Restarter{Logger: slog.Default(), ReadyTimeout: 10 * time.Second,
		BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
			await("hold-exec")
			return nil
		}}
	service := systemd.Service{Restarter: restarter, Logger: slog.Default(), Check: func(context.Context) error {
		if sick.Load() {
			return errors.New("it was told to be sick")
		}
		return nil
	}}
	if err := service.Start(); err != nil {
		slog.Error("systemd is not notified", "reason", err)
	}
	switch number() {
	case slow:
		await("hold-start")
	case panics:
		panic("this version panics")
	}
	drain, _ := time.ParseDuration(os.Args[1])
	start, _ := time.ParseDuration(os.Args[2])
	if autorestart.Generation() > 0 {
		time.Sleep(start)
	}
	if drain > 0 {
		autorestart.RegisterDrainer(drainer(drain))
	}
	sickness := make(chan os.Signal, 1)
	signal.Notify(sickness, syscall.SIGUSR1)
	go func() {
		<-sickness
		sick.Store(true)
	}()
	end := autorestart.NotifyOnSigterm()
	go func() {
		<-end
		service.Stopping()
		await("hold-end")
		os.Exit(0)
	}()
	reload := autorestart.NotifyOnSighup()
	autorestart.Ready()
	slog.Info("serving", "version", number(), "generation", autorestart.Generation())
	for range reload {
		slog.Warn("not reloaded", "reason", restarter.Restart(context.Background()))
	}
}

// A drainer needs some time.
type drainer time.Duration

func (drainer) Quiesce() {}
func (drainer) Resume()  {}
func (d drainer) Drain(context.Context) error {
	time.Sleep(time.Duration(d))
	await("hold-drain")
	return nil
}

// await waits while a file beside the executable exists.
func await(name string) {
	for logged := false; ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(filepath.Join(filepath.Dir(os.Args[0]), name)); err != nil {
			return
		}
		if !logged {
			logged = true
			slog.Info("waiting", "file", name, "generation", autorestart.Generation())
		}
	}
}
