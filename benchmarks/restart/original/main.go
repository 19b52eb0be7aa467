// Original is a server that restarts by tillberg/autorestart.
package main

import (
	"errors"
	"io/fs"
	"log"
	"net"
	"os"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/tillberg/autorestart"
)

func main() {
	daemon.Start()
	go autorestart.RestartOnChange()
	if *daemon.Network == "unix" {
		// The image before this one has left its socket.
		if err := os.Remove(*daemon.Address); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Fatal(err)
		}
	}
	ln, err := net.Listen(*daemon.Network, *daemon.Address)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(daemon.Serve(daemon.Server(), ln))
}
