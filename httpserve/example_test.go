package httpserve_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

func Example() {
	srv := &http.Server{Addr: ":8080", Handler: http.FileServer(http.Dir("/srv"))}
	ln, err := sockets.Listen("tcp", srv.Addr)
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	go func() { log.Print(new(autorestart.Restarter).Run(context.Background())) }()
	log.Panic(httpserve.Serve(srv, ln))
}

// A server that opens its own listener is ready when that is open.
func ExampleListenAndServe() {
	go func() { log.Print(new(autorestart.Restarter).Run(context.Background())) }()
	srv := &http.Server{
		Addr: ":8080",
		BaseContext: func(net.Listener) context.Context {
			autorestart.Ready()
			return context.Background()
		},
	}
	log.Panic(httpserve.ListenAndServe(srv))
}

// HTTP/1.1 and HTTP/2 over TLS. The certificate is read anew by each version.
func ExampleServeTLS() {
	ln, err := sockets.Listen("tcp", ":8443")
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	go func() { log.Print(new(autorestart.Restarter).Run(context.Background())) }()
	log.Panic(httpserve.ServeTLS(new(http.Server), ln, "/etc/site/cert.pem", "/etc/site/key.pem"))
}

// A server for TLS that opens its own listener.
func ExampleListenAndServeTLS() {
	go func() { log.Print(new(autorestart.Restarter).Run(context.Background())) }()
	srv := &http.Server{
		Addr: ":8443",
		BaseContext: func(net.Listener) context.Context {
			autorestart.Ready()
			return context.Background()
		},
	}
	log.Panic(httpserve.ListenAndServeTLS(srv, "/etc/site/cert.pem", "/etc/site/key.pem"))
}

// Two servers in one process. The admin server answers until the requests of the site are
// finished, because its listener has a higher DrainOrder.
func Example_severalServers() {
	site, err := sockets.Listen("tcp", ":8080")
	if err != nil {
		log.Panic(err)
	}
	config := sockets.Config{DrainOrder: 10}
	admin, err := config.Listen(context.Background(), "tcp", "localhost:9090")
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	go func() { log.Print(new(autorestart.Restarter).Run(context.Background())) }()
	go func() { log.Print(httpserve.Serve(new(http.Server), admin)) }()
	log.Panic(httpserve.Serve(&http.Server{Handler: http.FileServer(http.Dir("/srv"))}, site))
}

// Server-sent events end when a restart begins. The client connects again, and waits in
// the kernel's queue for the new version.
func Example_events() {
	http.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case now := <-ticker.C:
				fmt.Fprintf(w, "data: %v\n\n", now)
				http.NewResponseController(w).Flush()
			case <-autorestart.Draining():
				return
			case <-r.Context().Done():
				return
			}
		}
	})
	log.Panic(httpserve.ListenAndServe(&http.Server{Addr: ":8080"}))
}

// A handler that hijacks its connection, as for WebSocket, has to end it, too.
func Example_webSocketish() {
	http.HandleFunc("/talk", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer conn.Close()
		lines := make(chan string)
		go func() {
			defer close(lines)
			for s := bufio.NewScanner(rw); s.Scan(); {
				lines <- s.Text()
			}
		}()
		for {
			select {
			case line, ok := <-lines:
				if !ok {
					return
				}
				fmt.Fprintf(conn, "you said %s\n", line)
			case <-autorestart.Draining():
				fmt.Fprint(conn, "come back in a moment\n")
				conn.Close()
				for range lines { // until the reader ends
				}
				return
			}
		}
	})
	log.Panic(httpserve.ListenAndServe(&http.Server{Addr: ":8080"}))
}
