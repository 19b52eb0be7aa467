// Command daemon is a server for units of tests. It serves HTTP, and restarts when another version is deployed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
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
	network := flag.String("network", "tcp", "`network` of the address")
	address := flag.String("address", "localhost:8080", "`address` to listen at")
	readyTimeout := flag.Duration("ready-timeout", 10*time.Second, "the `time` that a new version has; 0: it is never rolled back")
	flag.Parse()
	defer autorestart.RollbackUnlessReady()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	restarter := &autorestart.Restarter{Logger: slog.Default(), ReadyTimeout: *readyTimeout}
	go func() { slog.Error("the restarter has ended", "error", restarter.Run(context.Background())) }()
	if number() == panics {
		panic("this version panics")
	}

	listener, err := sockets.Listen(*network, *address)
	if err != nil {
		slog.Error("cannot listen", "error", err)
		os.Exit(1)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, number())
	})
	autorestart.Ready()
	slog.Info("serving", "version", number(), "generation", autorestart.Generation())
	slog.Error("the server has ended", "error", httpserve.Serve(new(http.Server), listener))
	os.Exit(1)
}
