//go:build linux

package restart

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
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
func deployTimes(p *servers.Process, s *sightings, n int) ([]time.Duration, error) {
	var times []time.Duration
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for end := time.Now().Add(time.Duration(n) * pace); len(times) < n; <-tick.C {
		began := time.Now()
		if !p.Strict && began.After(end) {
			break
		}
		if err := deploy(p, s); err != nil {
			return times, err
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}

// deploy restarts the daemon into a new version, and waits for the first answer of
// this version.
func deploy(p *servers.Process, s *sightings) error {
	if err := p.Deploy(""); err != nil {
		return err
	}
	return await(p, s, func(id daemon.Identity) bool { return id.Version == p.Version })
}

func anyVersion(daemon.Identity) bool { return true }

// errStuck is the error of a deploy after which the expected version does not
// answer.
var errStuck = errors.New("stuck")

// await waits for an answer of a wanted version.
func await(p *servers.Process, s *sightings, wanted func(daemon.Identity) bool) error {
	const limit = 20 * time.Second
	id, ok := s.await(wanted, limit)
	if !ok {
		return fmt.Errorf("%w: %v after the deploy of version %d, version %d is the last that answered", errStuck, limit, p.Version, p.Current.Version)
	}
	p.Current = id
	if p.Strict {
		return p.CheckPID()
	}
	return nil
}
