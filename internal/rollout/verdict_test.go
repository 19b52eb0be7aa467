package rollout

import (
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/statuspage"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// status returns that of a version. Words after the file are the phase, and the last outcome with the file that it is
// about.
func status(generation int, file string, phase statuspage.Phase, last statuspage.OutcomeKind, about string) statuspage.Status {
	return statuspage.Status{
		Generation: generation, File: file, Version: "v" + file, Phase: phase,
		Last: statuspage.Outcome{Kind: last, File: about, Reason: "no good"},
	}
}

func TestVerdicts(t *testing.T) {
	const (
		serving    = statuspage.Serving
		restarting = statuspage.Restarting
		rejected   = statuspage.Rejected
		rolledBack = statuspage.RolledBack
		ready      = statuspage.Ready
	)
	old := status(3, "1", serving, "", "")
	with := func(now statuspage.Status, change ...func(*observation)) observation {
		o := observation{library: true, mark: "2", placed: true, page: true, before: old, now: now}
		for _, f := range change {
			f(&o)
		}
		return o
	}
	replaced := func(o *observation) { o.placed = false }
	executed := func(o *observation) { o.execs = true }
	ended := func(o *observation) { o.ended = true }
	trial := func(o *observation) { o.now.Trial = true }
	retryable := func(o *observation) { o.now.Last.Retryable = true }
	same := func(o *observation) { o.same = true }
	pageless := func(o *observation) { o.page = false }
	for name, test := range map[string]struct {
		o     observation
		state State
		text  string
	}{
		"nothing has happened":             {with(old), Waiting, "serving"},
		"drains":                           {with(status(3, "1", statuspage.Draining, "", "")), Waiting, "draining"},
		"waits for its Gate":               {with(status(3, "1", statuspage.Waiting, "", "")), Waiting, "waiting for its Gate"},
		"starts":                           {with(status(4, "2", statuspage.Starting, "", "")), Waiting, "starts"},
		"on trial":                         {with(status(4, "2", serving, "", ""), trial), Waiting, "on trial"},
		"ready":                            {with(status(4, "2", serving, ready, "2")), Ready, "v2 is ready (generation 4)"},
		"ready, and the path leads on":     {with(status(4, "2", serving, ready, "2"), replaced), Ready, "ready"},
		"ready, and has rejected the next": {with(status(4, "2", serving, rejected, "3")), Ready, "ready"},
		"ready, and drains for the next":   {with(status(4, "2", statuspage.Draining, ready, "2")), Ready, "ready"},

		"rejected":                          {with(status(3, "1", serving, rejected, "2")), Rejected, "rejected: no good"},
		"not yet":                           {with(status(3, "1", serving, rejected, "2"), retryable), Waiting, "not accept the version yet: no good"},
		"another version was rejected":      {with(status(3, "1", serving, rejected, "0")), Waiting, "serving"},
		"another one, and the file unknown": {with(status(3, "1", serving, rejected, "")), Waiting, "serving"},

		"rolled back":                     {with(status(5, "1", serving, rolledBack, "2")), RolledBack, "rolled back: no good"},
		"rolled back, and starting":       {with(status(5, "1", statuspage.Starting, rolledBack, "2")), RolledBack, "no good"},
		"then rejected":                   {with(status(5, "1", serving, rejected, "2")), RolledBack, "rolled back: no good"},
		"then looked at again":            {with(status(5, "1", serving, rejected, "2"), retryable), RolledBack, "no good"},
		"another version was rolled back": {with(status(5, "1", serving, rolledBack, "0")), Waiting, "serving"},

		"replaced":                      {with(old, replaced), Replaced, "another deploy"},
		"replaced, and took the next":   {with(status(4, "3", serving, ready, "3"), replaced), Replaced, "another deploy"},
		"replaced at the exec":          {with(status(3, "1", restarting, "", ""), replaced), Waiting, "executes"},
		"replaced when it was executed": {with(status(3, "1", restarting, "", ""), replaced, executed), Waiting, "starts"},
		"replaced, and rejected before": {with(status(3, "1", serving, rejected, "2"), replaced), Rejected, "no good"},
		"without Restarter, by now":     {with(old, executed), Waiting, "starts the new version"},
		"ended":                         {with(status(4, "2", statuspage.Starting, "", ""), ended), Ended, "while it was starting"},
		"same content":                  {with(old, same), Unchanged, "already runs"},
		"same content, but it drains":   {with(status(3, "1", statuspage.Draining, "", ""), same), Waiting, "draining"},
		"same content, waits for Gate":  {with(status(3, "1", statuspage.Waiting, "", ""), same), Waiting, "waiting for its Gate"},
		"same content, at the exec":     {with(status(3, "1", restarting, "", ""), same), Waiting, "restarting"},
		"of another user":               {with(old, pageless, func(o *observation) { o.forbidden = true }), Unknown, "another user"},
		"no page":                       {with(old, pageless), Waiting, "runs the previous version"},
		"no page, replaced":             {with(old, pageless, replaced), Replaced, "another deploy"},
		"no page, executed":             {with(old, pageless, executed), Waiting, "starts the new version"},
		"no page for long":              {with(old, pageless, executed, func(o *observation) { o.waited = pageWait }), Unknown, "not known whether it is ready"},
		"no page, ended":                {with(old, pageless, ended), Ended, "running the previous version"},
		"without the library":           {with(old, pageless, func(o *observation) { o.library = false }), Unknown, "restart it"},
		"had no page, rejected":         {with(status(3, "1", serving, rejected, "2"), func(o *observation) { o.before = statuspage.Status{} }), Rejected, "no good"},
	} {
		got := judge(test.o)
		if got.state != test.state || !strings.Contains(got.text, test.text) {
			t.Errorf("%s: %s: %s; want %s: %s", name, got.state, got.text, test.state, test.text)
		}
	}
}
