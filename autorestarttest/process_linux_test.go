//go:build !autorestart_portable

package autorestarttest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
)

func TestProcessIsRolledBack(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	p.Restart(&autorestart.Restarter{ReadyTimeout: time.Hour})
	p.RollBack(errors.New("the database is too old"))
	rolledBack := new(autorestart.RollbackError)
	if err := autorestart.RolledBack(); !errors.As(err, &rolledBack) || rolledBack.Reason != "the database is too old" {
		t.Errorf("rolled back with %v", err)
	}
	if n := autorestart.Generation(); n != 2 {
		t.Errorf("generation %d", n)
	}
}
