package systemd

import (
	"context"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/status"
)

// The status page, by which `autorestart reload` asks for a restart and waits for the outcome.

// serveReloads restarts by r when `autorestart reload` asks for it. Without a status page, which package status has
// logged, no process can ask.
func serveReloads(i *image.Image, r *autorestart.Restarter) {
	tracker, err := status.Of(i, status.About{Version: runningBuild().String(), Started: autorestart.LastRestart().Started})
	if err != nil {
		return
	}
	if !autorestart.LastRestart().Ready.IsZero() {
		tracker.Ready()
	}
	go tracker.Serve(context.Background(), r.Restart)
}
