//go:build linux && autorestart_portable

package integrationtest

import (
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// RestartOnChange sees a change within two seconds. The other tests poll at a
// faster pace.
func TestPollsAtItsPace(t *testing.T) {
	t.Parallel()
	d := program.New(t)
	d.Setenv(program.PollEnv + "=1")
	d.Start()
	for version := 2; version <= 3; version++ {
		deployed := testprocess.StartStopwatch()
		d.DeployVersion(version)
		d.WantRestart(version)
		wantSeenSoon(t, version, deployed)
	}
}
