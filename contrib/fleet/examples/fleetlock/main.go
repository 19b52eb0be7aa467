// Fleetlock is a small HTTP service that asks a FleetLock server before it restarts into another
// version of its executable. Build a version that works, and one that does not, with
//
//	go build -ldflags "-X main.version=v1" ./examples/fleetlock
//	go build -ldflags "-X main.version=v2 -X main.fault=no-database" ./examples/fleetlock
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet"
	"github.com/autorestart-go/autorestart/contrib/fleet/fleetlock"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

// They are set by -ldflags.
var (
	version = "development"
	fault   string // why this version does not start
)

func main() {
	defer autorestart.RollbackUnlessReady()
	address := flag.String("listen", "127.0.0.1:8080", "serve on `address`")
	url := flag.String("fleetlock", "http://127.0.0.1:3333", "base `URL` of the FleetLock server")
	group := flag.String("group", "web", "`group` of this service at the server")
	service := flag.String("service", "", "`name` of this service on the machine (default: that of -listen)")
	flag.Parse()

	id, err := fleet.ID(cmp.Or(*service, *address))
	if err != nil {
		log.Panic(err)
	}
	restarter := autorestart.Restarter{
		ReadyTimeout: 30 * time.Second,
		Gate:         &fleetlock.Gate{URL: *url, Group: *group, ID: id, RetryInterval: 5 * time.Second, Logger: slog.Default()},
		Logger:       slog.Default(),
	}
	go restarter.Run(context.Background())
	if fault != "" {
		log.Panic(fault)
	}

	listener, err := sockets.Listen("tcp", *address)
	if err != nil {
		log.Panic(err)
	}
	http.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version, os.Getpid()) })
	autorestart.Ready()
	log.Printf("%s serves http://%s/version, PID %d", version, listener.Addr(), os.Getpid())
	log.Panic(httpserve.Serve(new(http.Server), listener))
}
