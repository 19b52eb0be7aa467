// Server is a server of WebSockets, by github.com/coder/websocket, that restarts by this library.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/coder/websocket"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/autorestart-go/autorestart/benchmarks/internal/trailer"
	"github.com/autorestart-go/autorestart/benchmarks/streams/greeting"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

var (
	overlap = flag.Bool("overlap", false, "start a new version beside the old one first")
	spread  = flag.Duration("spread", time.Second, "time over which clients come back")
	grace   = flag.Duration("grace", time.Second, "time from a close frame to the end of its connection")
)

func main() {
	if autorestart.StandIn() {
		flag.Parse()
	} else {
		daemon.Start()
	}
	version, _ := trailer.Read()
	last := autorestart.LastRestart()
	h := &handler{
		streams:  httpserve.Streams{Spread: *spread, Grace: *grace},
		greeting: greeting.Greeting{PID: os.Getpid(), Version: version, StandIn: autorestart.StandIn(), Drain: last.Drained.Sub(last.Quiesced)},
	}
	ln, err := sockets.Listen(*daemon.Network, *daemon.Address)
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	restarter := &autorestart.Restarter{
		DrainTimeout: *spread + *grace + 10*time.Second,
		ReadyTimeout: time.Minute,
		Overlap:      *overlap,
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	go func() { log.Print(restarter.Run(context.Background())) }()
	log.Panic(httpserve.Serve(&http.Server{Handler: h}, ln))
}

type handler struct {
	streams  httpserve.Streams
	greeting greeting.Greeting
}

// ServeHTTP greets the client, and waits for its end or that of the stream.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	stream := h.streams.Begin(w, r)
	defer stream.End()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	go func() {
		select {
		case <-stream.Ending():
			conn.Close(websocket.StatusServiceRestart, greeting.Goodbye(stream.Retry()))
		case <-r.Context().Done():
		}
	}()
	if err := conn.Write(r.Context(), websocket.MessageText, h.greeting.Bytes()); err != nil {
		return
	}
	for err == nil {
		_, _, err = conn.Read(r.Context())
	}
}
