// Systemd is an HTTP service for a unit of systemd. It notifies systemd, answers its watchdog, restarts at
// `systemctl reload` and when another version is deployed, and finds its listener and its count of requests after
// a crash. docs/systemd.md has units for it, and the tests of this page deploy versions with other numbers.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
	"github.com/autorestart-go/autorestart/systemd"
)

var version = "version 0000000001"

func main() {
	defer autorestart.RollbackUnlessReady()
	address := flag.String("address", "127.0.0.1:8080", "listen at `address`, or at the path of a Unix socket")
	flag.Parse()
	network := "tcp"
	if strings.HasPrefix(*address, "/") {
		network = "unix"
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))

	restarter := &autorestart.Restarter{
		ReadyTimeout: 10 * time.Second,
		DrainTimeout: 30 * time.Second,
		Logger:       logger,
	}
	service := systemd.Service{Restarter: restarter, Check: answers(network, *address), Logger: logger}
	if err := service.Start(); err != nil { // before anything is opened
		logger.Warn("systemd is not notified", "reason", err)
	}
	go func() { logger.Error("the restarter has ended", "reason", restarter.Run(context.Background())) }()
	go reload(restarter, autorestart.NotifyOnSighup(), logger) // subscribed before Ready

	listener, err := sockets.Listen(network, *address)
	if err != nil {
		panic(err) // a new version is rolled back
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, version) })
	http.Handle("/count", countRequests())
	autorestart.Ready()
	logger.Info("serving", "version", version, "generation", autorestart.Generation())
	panic(httpserve.Serve(new(http.Server), listener))
}

// reload restarts at SIGHUP, which systemd sends to a unit of Type=notify-reload.
func reload(restarter *autorestart.Restarter, signals <-chan os.Signal, logger *slog.Logger) {
	for range signals {
		logger.Warn("not reloaded", "reason", restarter.Restart(context.Background()))
	}
}

// answers returns the check of the watchdog: a request to this service.
func answers(network, address string) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server/", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
}

// countRequests counts the requests for it, over restarts and crashes.
func countRequests() http.HandlerFunc {
	var mu sync.Mutex
	value, _ := autorestart.State("count")
	count, _ := strconv.Atoi(string(value))
	return func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		count++
		autorestart.SetState("count", strconv.AppendInt(nil, int64(count), 10))
		fmt.Fprint(w, count)
	}
}
