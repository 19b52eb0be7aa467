package systemd_test

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/systemd"
)

// A service with WatchdogSec answers a request of its own before it notifies the watchdog.
func ExampleService() {
	service := systemd.Service{
		Logger: slog.Default(),
		Check: func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1:8080/healthy", nil)
			if err != nil {
				return err
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return err
			}
			return response.Body.Close()
		},
	}
	if err := service.Start(); err != nil {
		slog.Warn("systemd is not notified", "reason", err)
	}
	// Open what the program needs, and serve.
	autorestart.Ready()
	restarter := autorestart.Restarter{Logger: slog.Default(), ReadyTimeout: 10 * time.Second}
	slog.Error("the restarter has ended", "reason", restarter.Run(context.Background()))
}
