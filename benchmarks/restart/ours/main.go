// Ours is a server that restarts by this library.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/autorestart-go/autorestart/benchmarks/internal/fault"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

var (
	drainTimeout = flag.Duration("drain-timeout", 10*time.Second, "how `long` the work of a version may take to end")
	overlap      = flag.Bool("overlap", false, "start a new version beside the old one first")
)

func main() {
	defer autorestart.RollbackUnlessReady()
	if autorestart.StandIn() { // which has not the standard input of its main process
		flag.Parse()
	} else {
		daemon.Start()
	}

	restarter := &autorestart.Restarter{
		ReadyTimeout: *daemon.ReadyTimeout,
		DrainTimeout: *drainTimeout,
		Overlap:      *overlap,
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	go func() { log.Print(restarter.Run(context.Background())) }()
	daemon.Prepare()
	fault.Strike()

	if *daemon.Network == "udp" {
		conn, err := sockets.ListenPacket(*daemon.Network, *daemon.Address)
		if err != nil {
			log.Panic(err)
		}
		// The buffer holds the datagrams that arrive during a restart. The default
		// size is enough for 28 ms.
		if err := conn.(interface{ SetReadBuffer(int) error }).SetReadBuffer(1 << 20); err != nil {
			log.Panic(err)
		}
		autorestart.Ready()
		log.Panic(daemon.Echo(conn))
	}
	listeners, err := daemon.Listen(sockets.Listen)
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	report()
	server := daemon.Server()
	for _, ln := range listeners[1:] {
		go func() { log.Print(serve(server, ln)) }()
	}
	log.Panic(serve(server, listeners[0]))
}

func serve(server *http.Server, ln net.Listener) error {
	if *daemon.CertFile == "" {
		return httpserve.Serve(server, ln)
	}
	return httpserve.ServeTLS(server, ln, *daemon.CertFile, *daemon.KeyFile)
}

// report reports this version and the restart that has led to it.
func report() {
	times := autorestart.LastRestart()
	r := daemon.Report{StandIn: autorestart.StandIn(), Quiesced: times.Quiesced, Executed: times.Executed}
	if err := r.Say(); err != nil {
		log.Panic(err)
	}
}
