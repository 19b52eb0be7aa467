//go:build linux

package overlap

import (
	"os"
	"time"
)

// settings are how much is done.
type settings struct {
	runs    int           // of each kind of load, in turns
	deploys int           // in each run of versions with a long start
	start   time.Duration // until such a version is ready
	slow    time.Duration // that some requests take

	quickDeploys  int // in a row
	failures      int // of each version that fails
	idle          int // connections
	idleDeploys   int
	hijacked      int           // connections
	drainTimeout  time.Duration // that these have
	hijackDeploys int
}

// fullEnv selects the full form.
const fullEnv = "AUTORESTART_BENCH_FULL"

func newSettings() settings {
	if os.Getenv(fullEnv) == "1" {
		return settings{
			runs: 1, deploys: 5, start: 10 * time.Second, slow: 10 * time.Second,
			quickDeploys: 1000, failures: 10,
			idle: 1000, idleDeploys: 100,
			hijacked: 200, drainTimeout: 10 * time.Second, hijackDeploys: 5,
		}
	}
	return settings{
		runs: 2, deploys: 2, start: 400 * time.Millisecond, slow: 400 * time.Millisecond,
		quickDeploys: 20, failures: 3,
		idle: 100, idleDeploys: 5,
		hijacked: 50, drainTimeout: time.Second, hijackDeploys: 2,
	}
}
