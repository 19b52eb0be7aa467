// Tableflip is a server that restarts by cloudflare/tableflip, at SIGHUP.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/autorestart-go/autorestart/benchmarks/internal/fault"
	"github.com/cloudflare/tableflip"
)

func main() {
	daemon.Start()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)

	upgrader, err := tableflip.New(tableflip.Options{UpgradeTimeout: *daemon.ReadyTimeout})
	if err != nil {
		log.Fatal(err)
	}
	defer upgrader.Stop()
	daemon.Prepare()
	fault.Strike()
	listeners, err := daemon.Listen(upgrader.Listen)
	if err != nil {
		log.Fatal(err)
	}
	server := daemon.Server()
	for _, ln := range listeners {
		go serve(server, ln)
	}
	if err := upgrader.Ready(); err != nil {
		log.Fatal(err)
	}
	if err := new(daemon.Report).Say(); err != nil {
		log.Fatal(err)
	}

	go func() {
		for range hup {
			// Upgrade fails while the version before this one drains.
			if err := upgrader.WaitForParent(context.Background()); err != nil {
				log.Print(err)
			}
			if err := upgrader.Upgrade(); err != nil {
				log.Print(err)
			}
		}
	}()
	<-upgrader.Exit()
	if err := server.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}
}

func serve(server *http.Server, ln net.Listener) {
	if err := daemon.Serve(server, ln); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
