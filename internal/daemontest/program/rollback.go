//go:build linux

package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart"
)

// rollback are the commands about a version's trial.
var rollback = map[string]func(argument string) string{
	"ready":       func(string) string { autorestart.Ready(); return "" },
	"rolled-back": func(string) string { return fmt.Sprint(autorestart.RolledBack()) },
	// failed-generation is that of the version that was rolled back.
	"failed-generation": func(string) string {
		e, ok := errors.AsType[*autorestart.RollbackError](autorestart.RolledBack())
		if !ok {
			return "none"
		}
		return strconv.Itoa(e.Generation)
	},
	"fail": func(reason string) string { return fmt.Sprint(autorestart.Rollback(errors.New(reason))) },
	// fail-with REASON N has a quoted reason, repeated N times.
	"fail-with": func(argument string) string {
		var reason string
		var times int
		if _, err := fmt.Sscanf(argument, "%q %d", &reason, &times); err != nil {
			return err.Error()
		}
		return fmt.Sprint(autorestart.Rollback(errors.New(strings.Repeat(reason, times))))
	},
	// panic has an error that panics itself when it is printed.
	"panic": func(string) string { panic(error((*fs.PathError)(nil))) },
	"get-stuck": func(string) string {
		autorestart.RegisterDrainer(stuckDrainer{})
		return ""
	},
}

type stuckDrainer struct{}

func (stuckDrainer) Quiesce()                    { select {} }
func (stuckDrainer) Drain(context.Context) error { return nil }
func (stuckDrainer) Resume()                     {}
