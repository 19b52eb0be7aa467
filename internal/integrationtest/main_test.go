//go:build linux

// Package integrationtest has the tests across topics: daemons that really restart,
// in real processes. The test binary is the daemon. integration_test.go at the top
// has the tests to read first.
package integrationtest

import (
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) {
	daemontest.Main(m, map[string]func(){program.Name: program.Main})
}

// wantSeenSoon checks how long ago a version was deployed that runs by now. It polls every second.
func wantSeenSoon(t *testing.T, version int, deployed testprocess.Stopwatch) {
	t.Helper()
	if took := deployed.Elapsed(); took > 3*time.Second {
		t.Errorf("version %d was seen after %v", version, took)
	}
}
