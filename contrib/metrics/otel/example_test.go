package autorestartotel_test

import (
	"context"
	"log"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/autorestart-go/autorestart"
	autorestartotel "github.com/autorestart-go/autorestart/contrib/metrics/otel"
)

// exporter is one for a collector of traces, such as that of otlptracegrpc.New.
var exporter sdktrace.SpanExporter

// A daemon that exports a span of each restart. A collector that does not answer delays an exec by half a
// second.
func ExampleObserver() {
	defer autorestart.RollbackUnlessReady()
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithExportTimeout(500*time.Millisecond)))
	restarter := autorestart.Restarter{
		Observe:      autorestartotel.Observer(provider),
		ReadyTimeout: 10 * time.Second,
		BeforeExec: func(ctx context.Context, _ *autorestart.ExecPlan) error {
			if err := provider.ForceFlush(ctx); err != nil {
				log.Print(err) // no reason to call the restart off
			}
			return nil
		},
	}
	go func() { log.Print(restarter.Run(context.Background())) }()
	autorestart.Ready()
}
