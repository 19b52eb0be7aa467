// Command etcd is a web server that is a member of a group in etcd. docs/fleet.md has commands to try it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/etcdgate"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

// These are set by -ldflags -X.
var (
	version = "v1"
	bad     = "" // "yes": the version fails
)

func main() {
	defer autorestart.RollbackUnlessReady()
	listen := flag.String("listen", "127.0.0.1:8081", "address")
	endpoints := flag.String("endpoints", "http://127.0.0.1:2379", "of etcd, separated by commas")
	member := flag.String("member", "", "name of this member of the group")
	flag.Parse()

	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 5 * time.Second})
	if err != nil {
		log.Panic(err)
	}
	restarter := autorestart.Restarter{
		ReadyTimeout: 10 * time.Second,
		Logger:       slog.Default(),
		Gate: &etcdgate.Gate{
			Client: client, Group: "web", Member: *member,
			Max: 2, Canaries: 1, HealthyFor: 10 * time.Second,
			Logger: slog.Default(),
		},
	}
	go func() { log.Print(restarter.Run(context.Background())) }()

	listener, err := sockets.Listen("tcp", *listen)
	if err != nil {
		log.Panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) })
	if bad != "" {
		log.Panic(autorestart.Rollback(errors.New(version + " does not work")))
	}
	autorestart.Ready()
	log.Panic(httpserve.Serve(new(http.Server), listener))
}
