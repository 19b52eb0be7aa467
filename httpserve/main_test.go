//go:build linux

package httpserve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestMain(m *testing.M) {
	Main(m, map[string]func(){"web": webMain, "several": severalMain, "proxy": proxyMain})
}

const (
	networkEnv  = "AUTORESTART_TEST_NETWORK"
	addressEnv  = "AUTORESTART_TEST_ADDRESS"
	certEnv     = "AUTORESTART_TEST_CERT"     // if set, TLS with certificate and key of this name
	listenerEnv = "AUTORESTART_TEST_LISTENER" // "own": not of package sockets; "failing": rolled back; "unready": not ready
	http2Env    = "AUTORESTART_TEST_HTTP2"    // if set, HTTP/2 without TLS, too
	drainEnv    = "AUTORESTART_TEST_DRAIN"    // DrainTimeout
	overlapEnv  = "AUTORESTART_TEST_OVERLAP"  // if set, Overlap
	orderEnv    = "AUTORESTART_TEST_ORDER"    // DrainOrder of the backend of a proxy
	patientEnv  = "AUTORESTART_TEST_PATIENT"  // if set, a drain waits for the rest of a header as long as a test may take
)

// bodyLimit is that of /limited.
const bodyLimit = 1000

// ownListener hides the methods of the listener that it embeds.
type ownListener struct{ net.Listener }

func webMain() {
	if os.Getenv(patientEnv) != "" {
		httpserve.SetHeaderTimeout(time.Hour)
	}
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	})
	http.HandleFunc("/whole-echo", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	http.HandleFunc("/begun", func(w http.ResponseWriter, r *http.Request) {
		Say("begun", "")
		io.Copy(w, r.Body)
	})
	http.HandleFunc("/whole-echo-begun", func(w http.ResponseWriter, r *http.Request) {
		Say("begun", "")
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	http.HandleFunc("/late-echo", func(w http.ResponseWriter, r *http.Request) {
		Say("begun", "")
		<-autorestart.Draining()
		io.Copy(w, r.Body)
	})
	http.Handle("/limited", http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Say("begun", "")
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	}), bodyLimit))
	http.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Sum")
		Say("begun", "")
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
		w.Header().Set("Sum", "got "+r.Trailer.Get("Sum"))
	})
	http.HandleFunc("/generation", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, autorestart.Generation())
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		delay, _ := time.ParseDuration(r.URL.RawQuery)
		time.Sleep(delay)
		fmt.Fprint(w, autorestart.Generation())
	})
	http.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begin\n")
		http.NewResponseController(w).Flush()
		<-autorestart.Draining()
		fmt.Fprint(w, "end\n")
	})
	http.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, "begin\n")
		<-autorestart.Draining()
		io.WriteString(conn, "end\n")
	})
	restart := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := new(autorestart.Restarter).Restart(context.Background())
		fmt.Fprint(w, errors.Is(err, autorestart.ErrInHandler), err)
	})
	http.Handle("/restart", restart)
	http.Handle("/restart-in-time", http.TimeoutHandler(restart, Timeout, ""))
	http.HandleFunc("/restart-deep", func(w http.ResponseWriter, r *http.Request) {
		var deep func(int)
		deep = func(n int) {
			if n > 0 {
				deep(n - 1)
				return
			}
			restart(w, r)
		}
		deep(1000)
	})
	http.HandleFunc("/restart-later", func(w http.ResponseWriter, r *http.Request) {
		go new(autorestart.Restarter).Restart(context.Background())
		fmt.Fprint(w, "restarting")
	})
	http.HandleFunc("/restart-via-exec", func(w http.ResponseWriter, r *http.Request) {
		autorestart.RestartViaExec()
		fmt.Fprint(w, "restarting")
	})
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	ln := Must(sockets.Listen(os.Getenv(networkEnv), os.Getenv(addressEnv)))
	address := ln.Addr()
	switch os.Getenv(listenerEnv) {
	case "own":
		ln = ownListener{ln}
	case "failing":
		if autorestart.RolledBack() == nil {
			Say("failing", autorestart.Rollback(nil))
		}
		os.Unsetenv(listenerEnv)
	}
	srv := new(http.Server)
	if os.Getenv(http2Env) != "" {
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	go func() {
		if cert := os.Getenv(certEnv); cert != "" {
			panic(httpserve.ServeTLS(srv, ln, cert+".pem", cert+".key"))
		}
		panic(httpserve.Serve(srv, ln))
	}()
	if os.Getenv(listenerEnv) != "unready" || autorestart.RolledBack() != nil {
		autorestart.Ready()
	}
	Say("ready", address)
	calledOff := errors.New("called off")
	proceed := make(chan bool)
	drainTimeout, _ := time.ParseDuration(os.Getenv(drainEnv))
	r := &autorestart.Restarter{Logger: slog.Default(), PollInterval: 10 * time.Millisecond, DrainTimeout: drainTimeout}
	commands := sessionCommands()
	maps.Copy(commands, map[string]func(string){
		"trial": func(string) { // of the next version
			r.ReadyTimeout = time.Minute
			Say("done", "")
		},
		"health": func(timeout string) { // likewise
			r.HealthTimeout = Must(time.ParseDuration(timeout))
			Say("done", "")
		},
		"drain": func(string) {
			t := autorestart.LastRestart()
			Say("drain", t.Drained.Sub(t.Quiesced))
		},
		"next": func(listener string) { // the next version is on trial
			os.Setenv(listenerEnv, listener)
			r.ReadyTimeout = time.Minute
			Say("done", "")
		},
		"fail": func(string) { Say("failed", autorestart.Rollback(nil)) },
		"restart-off": func(string) {
			r := autorestart.Restarter{BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
				Say("before", "")
				<-proceed
				return calledOff
			}}
			go func() { Say("off", r.Restart(context.Background()) == calledOff) }()
		},
		"report-draining": func(string) {
			draining := autorestart.Draining()
			go func() {
				<-draining
				Say("draining", "")
			}()
		},
		"continue": func(string) { proceed <- true },
	})
	Obey(r, commands)
}
