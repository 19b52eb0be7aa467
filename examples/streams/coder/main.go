// Command coder echoes messages of WebSockets, by github.com/coder/websocket. A restart says
// goodbye to each client by a close frame, with the time when to come back.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/coder/websocket"

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
	http.HandleFunc("/echo", echo)
	autorestart.Ready()
	restarter := &autorestart.Restarter{Logger: slog.Default()}
	go func() { log.Print(restarter.Run(context.Background())) }()
	log.Panic(httpserve.Serve(new(http.Server), ln))
}

func echo(w http.ResponseWriter, r *http.Request) {
	stream := streams.Begin(w, r)
	defer stream.End()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	ctx := r.Context() // until echo returns
	go func() {
		select {
		case <-stream.Ending():
			// Close waits 5 s for an answer, but not longer than the connection is open.
			conn.Close(websocket.StatusServiceRestart, retryAfter(stream))
		case <-ctx.Done():
		}
	}()
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if err := conn.Write(ctx, kind, message); err != nil {
			return
		}
	}
}

// retryAfter returns the reason of the close frame. Clients of this program know its form.
func retryAfter(stream *httpserve.Stream) string {
	return fmt.Sprintf("retry after %v", stream.Retry().Round(time.Millisecond))
}
