// Served is the daemon of the tests of package autorestarttest.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

var version = "1"

func main() {
	defer autorestart.RollbackUnlessReady()
	listen := flag.String("listen", "", "the `address` to serve on")
	overlap := flag.Bool("overlap", false, "restart with Overlap")
	readyTimeout := flag.Duration("ready", 2*time.Second, "ReadyTimeout; without one, no version is rolled back")
	flag.Parse()

	r := autorestart.Restarter{
		ReadyTimeout: *readyTimeout,
		Overlap:      *overlap,
		Logger:       slog.Default(),
	}
	go r.Run(context.Background())
	ln, err := sockets.Listen("tcp", *listen)
	if err != nil {
		log.Panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "version %s, process %d", version, os.Getpid())
	})
	autorestart.Ready()
	log.Panic(httpserve.Serve(new(http.Server), ln))
}
