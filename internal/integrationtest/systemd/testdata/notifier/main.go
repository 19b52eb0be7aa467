// Command notifier is a service for units of tests that notifies systemd. SIGHUP restarts it. SIGUSR1 makes
// its health check fail. Its arguments are how long it needs to be drained, and to start after a restart.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
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

// panics is the version that panics before it is ready.
const panics = 666

func main() {
	defer autorestart.RollbackUnlessReady()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	var sick atomic.Bool
	service := systemd.Service{Logger: slog.Default(), Check: func(context.Context) error {
		if sick.Load() {
			return errors.New("it was told to be sick")
		}
		return nil
	}}
	if err := service.Start(); err != nil {
		slog.Error("systemd is not notified", "reason", err)
	}
	if number() == panics {
		panic("this version panics")
	}
	drain, _ := time.ParseDuration(os.Args[1])
	start, _ := time.ParseDuration(os.Args[2])
	if autorestart.Generation() > 0 {
		time.Sleep(start)
	}
	autorestart.RegisterDrainer(slow(drain))
	sickness := make(chan os.Signal, 1)
	signal.Notify(sickness, syscall.SIGUSR1)
	go func() {
		<-sickness
		sick.Store(true)
	}()
	reload := autorestart.NotifyOnSighup()
	autorestart.Ready()
	slog.Info("serving", "version", number(), "generation", autorestart.Generation())
	restarter := &autorestart.Restarter{Logger: slog.Default(), ReadyTimeout: 10 * time.Second}
	for range reload {
		slog.Warn("not reloaded", "reason", restarter.Restart(context.Background()))
	}
}

// slow is a drainer that needs some time.
type slow time.Duration

func (slow) Quiesce() {}
func (slow) Resume()  {}
func (s slow) Drain(context.Context) error {
	time.Sleep(time.Duration(s))
	return nil
}
