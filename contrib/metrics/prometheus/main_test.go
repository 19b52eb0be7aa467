//go:build linux

package autorestartprom_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/autorestart-go/autorestart"
	autorestartprom "github.com/autorestart-go/autorestart/contrib/metrics/prometheus"
	"github.com/autorestart-go/autorestart/httpserve"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestMain(m *testing.M) { Main(m, map[string]func(){"metrics": metricsMain}) }

const (
	addressEnv = "AUTORESTART_TEST_ADDRESS"
	drainEnv   = "AUTORESTART_TEST_DRAIN"   // DrainTimeout
	overlapEnv = "AUTORESTART_TEST_OVERLAP" // if set, Overlap
	gateEnv    = "AUTORESTART_TEST_GATE"    // if set, a Gate that the test answers for
	failsEnv   = "AUTORESTART_TEST_FAILS"   // "GENERATION HOW": the image that fails
)

// Ways to fail.
const (
	panics     = "panics"             // before there is a Collector
	rollsBack  = "rolls back"         // when its Collector has begun to count
	unhealthy  = "unhealthy"          // when it has served a request
	keepsOther = "keeps other labels" // likewise; its vector has one more label
	undecided  = "is undecided"       // never; it stays on trial
)

// failure returns how this image is to fail, or "".
func failure() string {
	generation, how, _ := strings.Cut(os.Getenv(failsEnv), " ")
	if generation != fmt.Sprint(autorestart.Generation()) {
		return ""
	}
	return how
}

// A gate waits for the answers of the test: "" is leave, all others say why there is none.
type gate chan string

func (g gate) Acquire(ctx context.Context, _ autorestart.Change, _ *os.File) ([]byte, error) {
	select {
	case why := <-g:
		if why != "" {
			return nil, &autorestart.RejectedError{Found: why, Expected: "leave"}
		}
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (gate) Release(context.Context, autorestart.GateResult) error { return nil }

// metricsMain is a daemon that serves its metrics. It counts requests.
func metricsMain() {
	defer autorestart.RollbackUnlessReady()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	fails := failure()
	if fails == panics {
		panic("this version fails")
	}
	metrics := autorestartprom.NewCollector()
	registry := prometheus.NewPedanticRegistry()
	labels := []string{"code", "method"}
	if fails == keepsOther {
		labels = append(labels, "host")
	}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "http_requests_total", Help: "Requests.", ConstLabels: prometheus.Labels{"service": "test"},
	}, labels)
	bytes := prometheus.NewCounter(prometheus.CounterOpts{Name: "answered_total", Help: "Answered requests."})
	registry.MustRegister(metrics, requests, bytes)
	metrics.KeepVec("http_requests_total", requests)
	metrics.Keep("answered_total", bytes)

	var served, calledOff atomic.Bool
	runs := make(chan struct{})
	begin := sync.OnceFunc(func() { close(runs) })
	r := &autorestart.Restarter{
		Logger: slog.Default(),
		Observe: func(e autorestart.Event) {
			metrics.Observe(e)
			begin()
		},
		ReadyTimeout:  time.Minute,
		HealthTimeout: 20 * time.Millisecond,
		BeforeExec: func(context.Context, *autorestart.ExecPlan) error {
			if calledOff.Swap(false) {
				return errors.New("called off")
			}
			return nil
		},
		Check: func(ctx context.Context) error {
			if fails == undecided {
				<-ctx.Done()
			}
			for fails == unhealthy || fails == keepsOther {
				if served.Load() {
					return errors.New("this version fails")
				}
				time.Sleep(time.Millisecond)
			}
			return nil
		},
	}
	if timeout := os.Getenv(drainEnv); timeout != "" {
		r.DrainTimeout = Must(time.ParseDuration(timeout))
	}
	answers := make(gate)
	if os.Getenv(gateEnv) != "" {
		r.Gate = answers
	}
	r.Overlap = os.Getenv(overlapEnv) != ""
	if autorestart.StandIn() {
		autorestart.Ready()
		select {}
	}
	go r.Run(context.Background())

	mux := http.NewServeMux()
	scrape := promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, request *http.Request) {
		scrape.ServeHTTP(w, request)
		values := []string{"200", request.Method}
		if fails == keepsOther {
			values = append(values, request.Host)
		}
		requests.WithLabelValues(values...).Inc()
		bytes.Inc()
		served.Store(true)
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {}
	})
	ln := Must(sockets.Listen("tcp", os.Getenv(addressEnv)))
	go httpserve.Serve(&http.Server{Handler: mux}, ln)
	if fails == rollsBack {
		panic(autorestart.Rollback(errors.New("this version fails")))
	}
	<-runs // from now on Check is known, and is called however short the HealthTimeout is
	autorestart.Ready()
	Obey(r, map[string]func(string){
		"fail": func(how string) { // the next version
			os.Setenv(failsEnv, fmt.Sprint(autorestart.Generation()+1, " ", how))
			Say("done", "")
		},
		"answer": func(why string) {
			answers <- why
			Say("done", "")
		},
		"call-off": func(string) {
			calledOff.Store(true)
			Say("done", "")
		},
	})
}
