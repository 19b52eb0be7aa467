// Daemon is a small HTTP service. It restarts itself, with the same PID and without losing
// a request, as soon as another version of its executable is deployed. A version that does
// not work is rolled back. With -overlap, no client waits for a restart. With -delay, the machines on
// which it runs restart at different times. Build a version with
//
//	go build -ldflags "-X main.version=v1.2.3"
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

var version = "development" // set by -ldflags

func main() {
	defer autorestart.RollbackUnlessReady()
	address := flag.String("listen", "127.0.0.1:8080", "serve on `address`")
	overlap := flag.Bool("overlap", false, "serve in a child process while a new version starts")
	delay := flag.Duration("delay", 0, "delay each restart by up to `duration`: one machine and version have the same delay")
	flag.Parse()

	restarter := autorestart.Restarter{
		Overlap:      *overlap,
		ReadyTimeout: 3 * time.Second,
		DrainTimeout: time.Hour, // for downloads
		Logger:       slog.Default(),
	}
	if *overlap {
		restarter.ReadyTimeout = time.Minute // no client waits for it
	}
	if *delay > 0 {
		restarter.Gate = autorestart.RandomDelay(*delay)
	}
	go restarter.Run(context.Background())
	misbehave()

	listener, err := sockets.Listen("tcp", *address)
	if err != nil {
		log.Panic(err) // a version that can't listen is rolled back, too
	}
	http.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, version, os.Getpid())
	})
	http.HandleFunc("/download", func(w http.ResponseWriter, _ *http.Request) {
		const size = 128 << 20
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for block := make([]byte, 1<<20); ; {
			if _, err := w.Write(block); err != nil {
				return // http.ErrContentLength after the last one
			}
		}
	})
	autorestart.Ready()
	log.Printf("%s serves http://%s/version, PID %d", version, listener.Addr(), os.Getpid())
	log.Panic(httpserve.Serve(new(http.Server), listener))
}
