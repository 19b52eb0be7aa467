//go:build unix

package image_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/handover"
)

// drained is a Drainer that notes whether it was drained.
type drained bool

func (*drained) Quiesce() {}
func (*drained) Resume()  {}
func (d *drained) Drain(context.Context) error {
	*d = true
	return nil
}

// Without an exec of the process, the functions of the library act on one image and then on the
// next, which has what the first has passed on.
func TestFunctionsActOnCurrentImage(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := autorestart.Pass("claimed", f); err != nil {
		t.Fatal(err)
	}
	autorestart.Pass("unclaimed", f)
	autorestart.SetState("count", []byte("1"))
	d := new(drained)
	autorestart.RegisterDrainer(d)
	draining := autorestart.Draining()

	p.Restart(nil)
	if !*d {
		t.Error("executed without a drain")
	}
	select {
	case <-draining:
	default:
		t.Error("the first image does not know that it is drained")
	}
	select {
	case <-autorestart.Draining():
		t.Error("the second image is drained")
	default:
	}
	if n, times := autorestart.Generation(), autorestart.LastRestart(); n != 1 || times.Drained.IsZero() {
		t.Errorf("generation %d, %+v", n, times)
	}
	if names := autorestart.InheritedFiles(); !slices.Equal(names, []string{"claimed", "unclaimed"}) {
		t.Errorf("inherited %q", names)
	}
	own, err := autorestart.Inherited("claimed")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if value, _ := autorestart.State("count"); string(value) != "1" {
		t.Errorf("state %q", value)
	}
	autorestart.Ready()
	if names := autorestart.InheritedFiles(); !slices.Equal(names, []string{"claimed"}) {
		t.Errorf("inherited %q, when the image is ready", names)
	}
}

func TestImageIsRolledBack(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	p := autorestarttest.NewProcess(t)
	autorestart.SetState("count", []byte("1"))
	p.Restart(&autorestart.Restarter{ReadyTimeout: time.Hour})
	autorestart.SetState("count", []byte("2"))
	p.RollBack(errors.New("it is no good"))
	var rolledBack *autorestart.RollbackError
	if err := autorestart.RolledBack(); !errors.As(err, &rolledBack) || rolledBack.Reason != "it is no good" || rolledBack.Generation != 1 {
		t.Errorf("rolled back with %v", err)
	}
	if value, _ := autorestart.State("count"); string(value) != "1" {
		t.Errorf("state %q after the rollback", value)
	}
	if err := autorestart.Rollback(nil); err != autorestart.ErrNoRollback {
		t.Errorf("after a rollback, another one: %v", err)
	}
}
