package autorestartprom_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/autorestart-go/autorestart"
	autorestartprom "github.com/autorestart-go/autorestart/contrib/metrics/prometheus"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

// A server with metrics of its restarts and of its requests. Both go on over restarts.
func Example() {
	defer autorestart.RollbackUnlessReady()
	metrics := autorestartprom.NewCollector()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "http_requests_total", Help: "Requests by status.",
	}, []string{"code"})
	prometheus.MustRegister(metrics, requests)
	metrics.KeepVec("http_requests_total", requests)

	http.Handle("/", promhttp.InstrumentHandlerCounter(requests, http.NotFoundHandler()))
	http.Handle("/metrics", promhttp.Handler())
	ln, err := sockets.Listen("tcp", ":8080")
	if err != nil {
		log.Panic(err)
	}
	restarter := autorestart.Restarter{Observe: metrics.Observe, ReadyTimeout: 10 * time.Second}
	go func() { log.Print(restarter.Run(context.Background())) }()
	autorestart.Ready()
	log.Panic(httpserve.Serve(new(http.Server), ln))
}

// A program that logs events, too.
func ExampleCollector_Observe() {
	restarter := autorestart.Restarter{Observe: logged(autorestartprom.NewCollector())}
	go func() { log.Print(restarter.Run(context.Background())) }()
	autorestart.Ready()
}

func logged(metrics *autorestartprom.Collector) func(autorestart.Event) {
	return func(e autorestart.Event) {
		metrics.Observe(e)
		log.Print(e.Kind)
	}
}

// A counter without labels that goes on over restarts.
func ExampleCollector_Keep() {
	metrics := autorestartprom.NewCollector()
	jobs := prometheus.NewCounter(prometheus.CounterOpts{Name: "jobs_total", Help: "Jobs that were done."})
	prometheus.MustRegister(metrics, jobs)
	metrics.Keep("jobs_total", jobs)
	jobs.Inc()
}
