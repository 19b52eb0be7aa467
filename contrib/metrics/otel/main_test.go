//go:build linux

package autorestartotel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/autorestart-go/autorestart"
	autorestartotel "github.com/autorestart-go/autorestart/contrib/metrics/otel"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
)

func TestMain(m *testing.M) { Main(m, map[string]func(){"traced": tracedMain}) }

const (
	spansEnv = "AUTORESTART_TEST_SPANS" // the file to which spans are exported
	failsEnv = "AUTORESTART_TEST_FAILS" // "GENERATION HOW": the image that fails
)

// A span is one as it is exported.
type span struct {
	Name, ID, Parent, Trace string
	From, To                time.Time
	Attributes              map[string]string
	Status, Description     string
	Events                  int
}

// A file exports spans, each as a line of JSON.
type file string

func (name file) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	f, err := os.OpenFile(string(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, s := range spans {
		exported := span{
			Name: s.Name(), ID: s.SpanContext().SpanID().String(), Parent: s.Parent().SpanID().String(), Trace: s.SpanContext().TraceID().String(),
			From: s.StartTime(), To: s.EndTime(), Attributes: map[string]string{},
			Status: s.Status().Code.String(), Description: s.Status().Description, Events: len(s.Events()),
		}
		for _, a := range s.Attributes() {
			exported.Attributes[string(a.Key)] = a.Value.String()
		}
		if err := json.NewEncoder(f).Encode(exported); err != nil {
			return err
		}
	}
	return nil
}

func (file) Shutdown(context.Context) error { return nil }

// idle is a drainer with nothing to do.
type idle struct{}

func (idle) Quiesce()                    {}
func (idle) Drain(context.Context) error { return nil }
func (idle) Resume()                     {}

// tracedMain is a daemon whose spans are exported when its provider is flushed, and not before.
func tracedMain() {
	defer autorestart.RollbackUnlessReady()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(file(os.Getenv(spansEnv)), sdktrace.WithBatchTimeout(time.Hour)))
	observe := autorestartotel.Observer(provider)
	var rejections atomic.Int64
	var calledOff atomic.Bool
	r := &autorestart.Restarter{
		Logger:       slog.Default(),
		ReadyTimeout: time.Minute,
		Observe: func(e autorestart.Event) {
			observe(e)
			if e.Kind == autorestart.EventRejected {
				rejections.Add(1)
			}
		},
		BeforeExec: func(ctx context.Context, _ *autorestart.ExecPlan) error {
			if calledOff.Swap(false) {
				return errors.New("not today")
			}
			provider.ForceFlush(ctx)
			return nil
		},
	}
	autorestart.RegisterDrainer(idle{})
	go r.Run(context.Background())
	generation, how, _ := strings.Cut(os.Getenv(failsEnv), " ")
	if generation == fmt.Sprint(autorestart.Generation()) {
		panic(how)
	}
	autorestart.Ready()
	Obey(r, map[string]func(string){
		"fail": func(how string) { // the next version
			os.Setenv(failsEnv, fmt.Sprint(autorestart.Generation()+1, " ", how))
			Say("done", "")
		},
		"call-off": func(string) {
			calledOff.Store(true)
			Say("done", "")
		},
		"rejections": func(string) { Say("done", rejections.Load()) },
		"flush": func(string) {
			provider.ForceFlush(context.Background())
			Say("done", "")
		},
	})
}
