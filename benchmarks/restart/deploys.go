//go:build linux

package restart

import (
	"os"
	"strconv"
	"time"
)

const (
	deploysEnv     = "AUTORESTART_BENCH_DEPLOYS"
	defaultDeploys = 20

	// pace is the time from one deploy to the next. It is longer if a restart
	// takes longer.
	pace = 50 * time.Millisecond
)

// deployCount returns the number of deploys for each measurement.
func deployCount() (int, error) {
	s, ok := os.LookupEnv(deploysEnv)
	if !ok {
		return defaultDeploys, nil
	}
	return strconv.Atoi(s)
}

// deployTimes deploys n versions, one after the other, and returns the times until
// each answered. For a server without limits it stops when the time for n deploys
// at the usual pace is over.
func deployTimes(p *process, s *sightings, n int) ([]time.Duration, error) {
	var times []time.Duration
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for end := time.Now().Add(time.Duration(n) * pace); len(times) < n; <-tick.C {
		began := time.Now()
		if !p.strict && began.After(end) {
			break
		}
		if err := p.deploy(s); err != nil {
			return times, err
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}
