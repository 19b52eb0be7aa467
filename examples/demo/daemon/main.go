// Daemon is a small HTTP service. It restarts itself, with the same PID and without losing
// a request, as soon as another version of its executable is deployed. A version that does
// not work is rolled back. Build a version with
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
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

// Set by -ldflags.
var (
	version = "development"
	fault   = "" // "panic", or "hang"
)

func main() {
	defer autorestart.RollbackUnlessReady()
	address := flag.String("listen", "127.0.0.1:8080", "serve on `address`")
	flag.Parse()

	restarter := autorestart.Restarter{ReadyTimeout: 3 * time.Second, Logger: slog.Default()}
	go restarter.Run(context.Background())

	switch fault {
	case "panic":
		panic("this version has a fault")
	case "hang":
		select {}
	}

	listener, err := sockets.Listen("tcp", *address)
	if err != nil {
		log.Panic(err) // a version that can't listen is rolled back, too
	}
	http.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, version, os.Getpid())
	})
	autorestart.Ready()
	log.Printf("%s serves http://%s/version, PID %d", version, listener.Addr(), os.Getpid())
	log.Panic(httpserve.Serve(new(http.Server), listener))
}
