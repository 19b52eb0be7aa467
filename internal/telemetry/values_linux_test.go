//go:build !autorestart_portable

package telemetry_test

import (
	"errors"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/telemetry"
)

// A version that runs again after a rollback finds what the version that failed has set.
func TestValuesGoOnAfterRollback(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	v := telemetry.Open("test")
	v.Set("a", []byte("1"))
	v.Set("b", []byte("2"))
	p.Restart(&autorestart.Restarter{ReadyTimeout: time.Minute})
	telemetry.Open("test").Set("a", []byte("3"))
	p.RollBack(errors.New("it fails"))
	v = telemetry.Open("test")
	wantValue(t, v, "a", "3")
	wantValue(t, v, "b", "2")
}

// So does one after the rollback of a version that has not opened them.
func TestValuesGoOnAfterRollbackOfVersionWithoutThem(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	telemetry.Open("test").Set("a", []byte("1"))
	p.Restart(&autorestart.Restarter{ReadyTimeout: time.Minute, HealthTimeout: time.Minute})
	autorestart.Ready()
	p.RollBack(errors.New("it fails"))
	wantValue(t, telemetry.Open("test"), "a", "1")
}
