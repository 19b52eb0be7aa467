package autorestartotel

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/telemetry"
)

// scope is the instrumentation scope of the spans.
const scope = "github.com/autorestart-go/autorestart/contrib/metrics/otel"

// rejected is the outcome of a version for which the program was not drained.
const rejected = "rejected"

// Observer returns a function for [autorestart.Restarter.Observe] that makes a span of each restart, see the
// package documentation. It must get all events. The spans are of a tracer of provider. If provider is nil, it
// is that of [otel.GetTracerProvider]. A program calls Observer once: a second call panics. Any goroutine may
// call the function.
func Observer(provider trace.TracerProvider) func(autorestart.Event) {
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	o := &observer{tracer: provider.Tracer(scope), values: telemetry.Open("otel")}
	if json.Unmarshal(o.values.Get(courseName), &o.course) != nil {
		o.course = telemetry.Course{}
	}
	return o.observe
}

const courseName = "course"

type observer struct {
	tracer trace.Tracer
	values *telemetry.Values

	mu     sync.Mutex
	course telemetry.Course
}

func (o *observer) observe(e autorestart.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next, reason := o.course.Next, ""
	if e.Kind == autorestart.EventRejected {
		reason = o.course.Reason(e)
	}
	ended := o.course.Event(e)
	if text, err := json.Marshal(&o.course); err == nil {
		o.values.Set(courseName, text)
	}
	if reason != "" && len(ended) == 0 {
		next.Old, next.New = e.Old, e.New
		ended = []telemetry.Restart{{Outcome: rejected, Attempt: next, At: e.At, Err: e.Err}}
	}
	for _, r := range ended {
		o.report(e, &r, reason)
	}
}

// report makes the spans of a restart that has ended with an event.
func (o *observer) report(e autorestart.Event, r *telemetry.Restart, reason telemetry.Reason) {
	from, end := r.Times.Seen, r.At
	if from.IsZero() || from.After(end) {
		from = end
	}
	ctx, span := o.tracer.Start(context.Background(), "autorestart.restart", trace.WithTimestamp(from), trace.WithAttributes(attributes(e, r)...))
	if reason != "" {
		span.SetAttributes(attribute.String("autorestart.reason", reason))
	}
	for _, phase := range r.Phases() {
		o.child(ctx, phase.Name, phase.From, phase.To)
	}
	if !r.Rollback.Seen.IsZero() {
		o.child(ctx, "rollback", r.Rollback.Seen, r.Rollback.Started)
	}
	if r.Err != nil {
		span.RecordError(r.Err, trace.WithTimestamp(end))
		span.SetStatus(codes.Error, r.Err.Error())
	}
	span.End(trace.WithTimestamp(end))
}

func (o *observer) child(ctx context.Context, name string, from, to time.Time) {
	_, span := o.tracer.Start(ctx, "autorestart."+name, trace.WithTimestamp(from))
	span.End(trace.WithTimestamp(to))
}

func attributes(e autorestart.Event, r *telemetry.Restart) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("autorestart.outcome", r.Outcome),
		attribute.String("autorestart.path", e.Path),
		attribute.Int("autorestart.generation", e.Generation),
		attribute.String("autorestart.old.version", r.Old.String()),
		attribute.String("autorestart.old.build_id", r.Old.ID),
		attribute.String("autorestart.new.version", r.New.String()),
		attribute.String("autorestart.new.build_id", r.New.ID),
	}
	if len(r.Unfinished) > 0 {
		all = append(all, attribute.StringSlice("autorestart.unfinished", r.Unfinished), attribute.Int("autorestart.connections_cut", r.Cut()))
	}
	return all
}
