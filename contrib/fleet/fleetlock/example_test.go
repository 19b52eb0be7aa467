package fleetlock_test

import (
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet"
	"github.com/autorestart-go/autorestart/contrib/fleet/fleetlock"
)

func Example() {
	id, err := fleet.ID("web")
	if err != nil {
		log.Panic(err)
	}
	r := autorestart.Restarter{
		ReadyTimeout: 30 * time.Second,
		Gate: &fleetlock.Gate{
			URL:    "https://airlock.example.org",
			Group:  "web",
			ID:     id,
			Logger: slog.Default(),
		},
		Logger: slog.Default(),
	}
	log.Panic(r.Run(context.Background()))
}

// A server that asks for a client certificate.
func ExampleGate() {
	certificate, err := tls.LoadX509KeyPair("/etc/web/fleetlock.pem", "/etc/web/fleetlock.key")
	if err != nil {
		log.Panic(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	transport.DisableKeepAlives = true // requests are rare
	r := autorestart.Restarter{
		ReadyTimeout: 30 * time.Second,
		Gate: &fleetlock.Gate{
			URL:    "https://airlock.example.org",
			Group:  "web",
			ID:     "web-17",
			Client: &http.Client{Transport: transport},
			Logger: slog.Default(),
		},
		Logger: slog.Default(),
	}
	log.Panic(r.Run(context.Background()))
}

// The operator of a service decides what happens when the server is out of reach for an hour.
func ExampleAction() {
	actions := map[string]fleetlock.Action{"refuse": fleetlock.Refuse, "go": fleetlock.Go}
	action, ok := actions[os.Getenv("FLEETLOCK_DEADLINE")]
	if !ok {
		log.Panic("FLEETLOCK_DEADLINE is neither refuse nor go")
	}
	r := autorestart.Restarter{
		ReadyTimeout: 30 * time.Second,
		Gate: &fleetlock.Gate{
			URL:        "https://airlock.example.org",
			Group:      "web",
			ID:         "web-17",
			Deadline:   time.Hour,
			OnDeadline: action,
			Logger:     slog.Default(),
		},
		Logger: slog.Default(),
	}
	log.Panic(r.Run(context.Background()))
}
