package daemon

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Paths of [Server].
const (
	SlowPath = "/slow" // the answer takes as long as the query says: for=1s
	TalkPath = "/talk" // the connection is hijacked, and each line comes back
)

// Server returns a server that answers each request with the body of the request. A
// header has the identity of this process.
func Server() *http.Server {
	me := Self().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { echo(w, r, me) })
	mux.HandleFunc(SlowPath, func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(d)
		echo(w, r, me)
	})
	mux.HandleFunc(TalkPath, func(w http.ResponseWriter, r *http.Request) { talk(w, me) })
	return &http.Server{Handler: mux}
}

func echo(w http.ResponseWriter, r *http.Request, me string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set(IdentityHeader, me)
	w.Write(body)
}

// talk hijacks the connection, as the handler of a WebSocket does, and sends each line back until
// the client closes it.
func talk(w http.ResponseWriter, me string) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s: %s\r\n\r\n", IdentityHeader, me)
	for lines := bufio.NewReader(buffered); err == nil; {
		var line string
		if line, err = lines.ReadString('\n'); err == nil {
			_, err = io.WriteString(conn, line)
		}
	}
}
