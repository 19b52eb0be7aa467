// Http3 is a small HTTP/3 service that restarts itself, with the same PID and the same UDP socket,
// as soon as another version of its executable is deployed. Build it in its folder with
//
//	go build -ldflags "-X main.version=v1.2.3"
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/examples/http3/quicserve"
	"github.com/autorestart-go/autorestart/httpserve"
)

var version = "development" // set by -ldflags

func main() {
	defer autorestart.RollbackUnlessReady()
	address := flag.String("listen", "127.0.0.1:8443", "serve on the UDP `address`")
	certFile := flag.String("cert", "cert.pem", "`file` with the certificates")
	keyFile := flag.String("key", "key.pem", "`file` with the private key")
	flag.Parse()

	restarter := autorestart.Restarter{ReadyTimeout: 10 * time.Second, Logger: slog.Default()}
	go func() { log.Print(restarter.Run(context.Background())) }()

	cert, err := tls.LoadX509KeyPair(*certFile, *keyFile)
	if err != nil {
		log.Panic(err)
	}
	transport, err := quicserve.Listen(context.Background(), *address)
	if err != nil {
		log.Panic(err)
	}
	http.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, version, os.Getpid())
	})
	autorestart.Ready()
	log.Print(version, " serves https://", transport.Conn.LocalAddr(), "/version by HTTP/3")
	log.Panic(quicserve.Serve(transport, func() *http3.Server {
		config := &tls.Config{Certificates: []tls.Certificate{cert}}
		if err := httpserve.ResumeSessions("site", config); err != nil {
			log.Print(err)
		}
		return &http3.Server{TLSConfig: config}
	}))
}
