// Served is the daemon of the tests of package autorestarttest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

var version = "1"

// cutOff is a Drainer that waits for a request, which the exec then cuts off: no client's luck
// decides whether one is lost.
var cutOff = make(cutter)

type cutter chan bool

func (cutter) Quiesce() {}
func (cutter) Resume()  {}
func (c cutter) Drain(ctx context.Context) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func main() {
	defer autorestart.RollbackUnlessReady()
	listen := flag.String("listen", "", "the `address` to serve on")
	overlap := flag.Bool("overlap", false, "restart with Overlap")
	readyTimeout := flag.Duration("ready", 2*time.Second, "ReadyTimeout; without one, no version is rolled back")
	lose := flag.Bool("lose", false, "a restart cuts a request off")
	bare := flag.Bool("bare", false, "call RestartOnChange, and never Ready")
	exit := flag.Bool("exit", false, "exit at once")
	child := flag.Bool("child", false, "start a child that sleeps")
	path := flag.String("path", "", "the `file` to watch; this program if empty")
	cert := flag.String("cert", "", "a `file` with certificate and key, for TLS")
	health := flag.Duration("health", 0, "HealthTimeout; the version named sick fails its Check")
	successor := flag.String("successor", "", "start one on SIGHUP, `by` exec or fork")
	replace := flag.Bool("replace", false, "end the parent")
	flag.Parse()
	if *successor != "" {
		startSuccessor(*successor)
	}
	if *replace {
		replaceParent()
	}
	if *exit {
		log.Panic("nothing works")
	}
	if *child {
		if err := exec.Command("sleep", "1000").Start(); err != nil {
			log.Panic(err)
		}
	}
	if *bare {
		autorestart.RestartOnChange()
	}

	r := autorestart.Restarter{
		Path:          *path,
		ReadyTimeout:  *readyTimeout,
		HealthTimeout: *health,
		Check: func(context.Context) error {
			if version == "sick" {
				return errors.New("this version is sick")
			}
			return nil
		},
		Overlap: *overlap,
		Logger:  slog.Default(),
	}
	go r.Run(context.Background())
	listenTo, serve := sockets.Listen, httpserve.Serve
	if *lose {
		listenTo, serve = net.Listen, (*http.Server).Serve
		autorestart.RegisterDrainer(cutOff)
	}
	ln, err := listenTo("tcp", *listen)
	if err != nil {
		log.Panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case cutOff <- true:
			select {} // until the exec
		default:
		}
		fmt.Fprintf(w, "version %s, process %d", version, os.Getpid())
	})
	if *cert != "" {
		serve = func(srv *http.Server, ln net.Listener) error { return httpserve.ServeTLS(srv, ln, *cert, *cert) }
	}
	autorestart.Ready()
	log.Panic(serve(new(http.Server), ln))
}
