package httpserve_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
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

// The sessions of another server with TLS resume after a restart.
func ExampleResumeSessions() {
	cert, err := tls.LoadX509KeyPair("/etc/site/cert.pem", "/etc/site/key.pem")
	if err != nil {
		log.Panic(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	if err := httpserve.ResumeSessions("mail", config); err != nil {
		log.Panic(err)
	}
	ln, err := sockets.Listen("tcp", ":465")
	if err != nil {
		log.Panic(err)
	}
	autorestart.Ready()
	for secure := tls.NewListener(ln, config); ; {
		conn, err := secure.Accept()
		if err != nil {
			log.Panic(err)
		}
		go serveMail(conn)
	}
}

func serveMail(conn net.Conn) { conn.Close() }

// A server with a config for each host name has a name for each of them.
func ExampleResumeSessions_getConfigForClient() {
	configs := map[string]*tls.Config{}
	for _, host := range []string{"example.com", "example.org"} {
		cert, err := tls.LoadX509KeyPair("/etc/site/"+host+".pem", "/etc/site/"+host+".key")
		if err != nil {
			log.Panic(err)
		}
		configs[host] = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
		if err := httpserve.ResumeSessions(host, configs[host]); err != nil {
			log.Panic(err)
		}
	}
	srv := &http.Server{Addr: ":8443", TLSConfig: &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if config := configs[hello.ServerName]; config != nil {
				return config, nil
			}
			return nil, errors.New("unknown host")
		},
	}}
	log.Panic(httpserve.ListenAndServeTLS(srv, "", ""))
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

// Server-sent events end when a restart begins. Browsers obey the hint, and connect again within
// ten seconds.
func ExampleStreams() {
	streams := &httpserve.Streams{Spread: 10 * time.Second}
	http.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		stream := streams.Begin(w, r)
		defer stream.End()
		w.Header().Set("Content-Type", "text/event-stream")
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case now := <-ticker.C:
				fmt.Fprintf(w, "data: %v\n\n", now)
				http.NewResponseController(w).Flush()
			case <-stream.Ending():
				fmt.Fprintf(w, "retry: %d\n\n", stream.Retry().Milliseconds())
				return
			case <-r.Context().Done():
				return
			}
		}
	})
	log.Panic(httpserve.ListenAndServe(&http.Server{Addr: ":8080"}))
}

// A handler that hijacks its connection, as for WebSocket, says goodbye. If the client does not
// close the connection then, it is closed after two seconds.
func ExampleStream() {
	streams := &httpserve.Streams{Spread: 10 * time.Second, Grace: 2 * time.Second}
	sayGoodbye := func(ctx context.Context, conn net.Conn, stream *httpserve.Stream) {
		select {
		case <-stream.Ending():
			fmt.Fprintf(conn, "come back in %v\n", stream.Retry())
		case <-ctx.Done(): // the handler has returned
		}
	}
	http.HandleFunc("/talk", func(w http.ResponseWriter, r *http.Request) {
		stream := streams.Begin(w, r)
		defer stream.End()
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer conn.Close()
		go sayGoodbye(r.Context(), conn, stream)
		for lines := bufio.NewScanner(rw); lines.Scan(); {
			fmt.Fprintf(conn, "you said %s\n", lines.Text())
		}
	})
	log.Panic(httpserve.ListenAndServe(&http.Server{Addr: ":8080"}))
}
