// Command gorilla echoes messages of WebSockets, by github.com/gorilla/websocket. A restart says
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

	"github.com/gorilla/websocket"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

var (
	streams  = &httpserve.Streams{Spread: 10 * time.Second, Grace: time.Second}
	upgrader websocket.Upgrader
)

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
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close()
	go func() {
		select {
		case <-stream.Ending():
			// A client that answers ends ReadMessage. The deadline is for one that does not
			// read, and whose other messages are in the way.
			goodbye := websocket.FormatCloseMessage(websocket.CloseServiceRestart, retryAfter(stream))
			conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(time.Second))
		case <-r.Context().Done(): // echo has returned
		}
	}()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if err := conn.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

// retryAfter returns the reason of the close frame. Clients of this program know its form.
func retryAfter(stream *httpserve.Stream) string {
	return fmt.Sprintf("retry after %v", stream.Retry().Round(time.Millisecond))
}
