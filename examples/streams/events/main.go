// Command events sends the time by server-sent events. A restart ends each stream, with the time when
// its client is to come back in the field retry. Browsers obey it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

var streams = &httpserve.Streams{Spread: 10 * time.Second, Grace: time.Second}

func main() {
	addr := flag.String("addr", ":8080", "address to listen on")
	flag.Parse()
	ln, err := sockets.Listen("tcp", *addr)
	if err != nil {
		log.Panic(err)
	}
	log.Println("listening on", ln.Addr())
	http.HandleFunc("/events", events)
	autorestart.Ready()
	restarter := &autorestart.Restarter{Logger: slog.Default()}
	go func() { log.Print(restarter.Run(context.Background())) }()
	log.Panic(httpserve.Serve(new(http.Server), ln))
}

func events(w http.ResponseWriter, r *http.Request) {
	stream := streams.Begin(w, r)
	defer stream.End()
	w.Header().Set("Content-Type", "text/event-stream")
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for now := time.Now(); ; {
		fmt.Fprintf(w, "data: %s\n\n", now.Format(time.RFC3339))
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case now = <-ticker.C:
		case <-stream.Ending():
			fmt.Fprintf(w, "retry: %d\n\n", stream.Retry().Milliseconds())
			return
		case <-r.Context().Done(): // the client has left
			return
		}
	}
}
