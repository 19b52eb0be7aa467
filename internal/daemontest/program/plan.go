//go:build linux

package program

import (
	"context"
	"encoding/json"
	"sync/atomic"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
)

// A Plan is what BeforeExec of a daemon changes: nil is left as it is, Env is added to.
type Plan struct{ Args, Env []string }

// changedPlan is nil until the command watch-with-plan.
var changedPlan atomic.Pointer[Plan]

var plans = map[string]func(argument string) string{
	// watch-with-plan PLAN watches with a BeforeExec that changes the plan of the next version.
	"watch-with-plan": func(text string) string {
		plan := new(Plan)
		if err := json.Unmarshal([]byte(text), plan); err != nil {
			return err.Error()
		}
		changedPlan.Store(plan)
		go watch()
		return ""
	},
}

func changePlan(_ context.Context, plan *autorestart.ExecPlan) error {
	change := changedPlan.Load()
	if change.Args != nil {
		plan.Args = change.Args
	}
	plan.Env = append(plan.Env, change.Env...)
	return nil
}

// WatchWithPlan has a daemon that does not watch yet do so, and change the plan of the next version.
func WatchWithPlan(d *daemontest.Daemon, plan Plan) {
	d.T.Helper()
	d.WantAnswer("watch-with-plan "+string(daemontest.Must(json.Marshal(plan))), "")
}
