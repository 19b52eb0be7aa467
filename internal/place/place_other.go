//go:build !linux

package place

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// A Placement is a file on its way to its place. There is none on these systems: no process can tell there which
// version it executes.
type Placement struct{}

// Prepare returns an error.
func Prepare(context.Context, string, string, bool, time.Duration) (*Placement, error) {
	return nil, errors.ErrUnsupported
}

func (*Placement) Target() string                         { return "" }
func (*Placement) Old() (id candidate.ID)                 { return id }
func (*Placement) KeepPrevious(func(*os.File) bool)       {}
func (*Placement) Mark() string                           { return "" }
func (*Placement) New() string                            { return "" }
func (*Placement) Commit(context.Context) (Result, error) { return Result{}, errors.ErrUnsupported }
func (*Placement) Current() bool                          { return false }
func (*Placement) Close()                                 {}
