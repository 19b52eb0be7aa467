//go:build linux && autorestart_portable

package autorestart

import (
	"testing"
	"time"
)

// RestartOnChange sees a change within two seconds. The other tests poll at a
// faster pace.
func TestPollsAtItsPace(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.setenv(pollEnv + "=1")
	d.start()
	for version := 2; version <= 3; version++ {
		deployed := time.Now()
		d.deploy(version)
		d.wantRestart(version)
		if took := time.Since(deployed); took > 2*time.Second {
			t.Errorf("version %d was seen after %v", version, took)
		}
	}
}
