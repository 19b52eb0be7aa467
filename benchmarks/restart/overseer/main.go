// Overseer is a server that restarts by jpillora/overseer, at SIGUSR2.
package main

import (
	"log"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/jpillora/overseer"
)

func main() {
	daemon.Start()
	overseer.Run(overseer.Config{Required: true, Program: serve, Address: *daemon.Address})
}

// serve runs in a child of the first process.
func serve(state overseer.State) {
	server := daemon.Server()
	go func() {
		<-state.GracefulShutdown
		// Not Shutdown: it closes the listener first, and overseer's listener then
		// waits for the connections that Shutdown would close next.
		server.SetKeepAlivesEnabled(false)
	}()
	log.Print(daemon.Serve(server, state.Listener))
}
