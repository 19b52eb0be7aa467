// Daemon is a small HTTP service that restarts itself, under the same PID, as
// soon as another version of its executable is deployed. Build one with
//
//	go build -ldflags "-X main.version=v1.2.3"
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/autorestart-go/autorestart"
)

var version = "development"

func main() {
	address := flag.String("listen", "127.0.0.1:8080", "serve on `address`")
	flag.Parse()

	go autorestart.RestartOnChange()

	http.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, version, os.Getpid())
	})

	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("%s serves http://%s/version, PID %d", version, listener.Addr(), os.Getpid())
	log.Fatal(http.Serve(listener, nil))
}
