// Ours is a server that restarts by this library.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/benchmarks/restart/internal/daemon"
	_ "github.com/autorestart-go/autorestart/benchmarks/restart/internal/hang"
	"github.com/autorestart-go/autorestart/benchmarks/restart/internal/trailer"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

var readyTimeout = flag.Duration("ready-timeout", 10*time.Second, "how `long` a version may take until it is ready")

func main() {
	defer autorestart.RollbackUnlessReady()
	daemon.Start()
	switch _, fault := trailer.Read(); fault {
	case trailer.Panics:
		panic("this version panics")
	case trailer.Unready:
		select {} // never ready
	}

	restarter := &autorestart.Restarter{
		ReadyTimeout: *readyTimeout,
		DrainTimeout: 10 * time.Second,
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	go func() { log.Print(restarter.Run(context.Background())) }()

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
	ln, err := sockets.Listen(*daemon.Network, *daemon.Address)
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	log.Panic(serve(ln))
}

func serve(ln net.Listener) error {
	if *daemon.CertFile == "" {
		return httpserve.Serve(daemon.Server(), ln)
	}
	return httpserve.ServeTLS(daemon.Server(), ln, *daemon.CertFile, *daemon.KeyFile)
}
