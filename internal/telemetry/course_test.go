package telemetry

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
)

// at returns a time that is so many seconds after the beginning of a test.
func at(seconds float64) time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

// times returns those of a restart whose steps are at the given seconds.
func times(seconds ...float64) (t autorestart.RestartTimes) {
	for i, to := range []*time.Time{&t.Seen, &t.Judged, &t.Quiesced, &t.Drained, &t.Executed, &t.Started, &t.Ready} {
		if i < len(seconds) {
			*to = at(seconds[i])
		}
	}
	return t
}

// Each line is the events of one image; the course crosses to the next line as JSON.
func TestCourse(t *testing.T) {
	event := map[string]autorestart.Event{
		"seen":           {Kind: autorestart.EventSeen},
		"waiting":        {Kind: autorestart.EventWaiting},
		"draining":       {Kind: autorestart.EventDraining},
		"standin":        {Kind: autorestart.EventStandInStarted},
		"standin serves": {Kind: autorestart.EventStandInServes},
		"restarting":     {Kind: autorestart.EventRestarting},
		"rejected":       {Kind: autorestart.EventRejected, Err: errors.New("why")},
		"fresh":          {Kind: autorestart.EventStarted},
		"started":        {Kind: autorestart.EventStarted, Generation: 1},
		"ready":          {Kind: autorestart.EventReady, Generation: 1},
		"ready on trial": {Kind: autorestart.EventReady, Generation: 1, OnTrial: true},
		"healthy":        {Kind: autorestart.EventHealthy, Generation: 1},
		"rolled back":    {Kind: autorestart.EventRolledBack, Generation: 2, Err: &autorestart.RollbackError{Reason: "why"}},
		"mode":           {Kind: autorestart.EventModeChanged},
	}
	for name, tt := range map[string]struct {
		images []string
		want   string
	}{
		"started afresh":                     {[]string{"fresh, ready, mode"}, ""},
		"one restart":                        {[]string{"fresh, ready, seen, draining, restarting", "started, ready"}, "ready"},
		"nothing to drain":                   {[]string{"fresh, seen, restarting", "started, ready"}, "ready"},
		"with a trial":                       {[]string{"restarting", "started, ready on trial, healthy"}, "ready"},
		"ready is once":                      {[]string{"restarting", "started, ready, healthy"}, "ready"},
		"two restarts":                       {[]string{"restarting", "started, ready, restarting", "started, ready"}, "ready ready"},
		"events before the exec are missing": {[]string{"fresh", "started, ready"}, "ready"},
		"rolled back before it reports":      {[]string{"restarting", "rolled back, ready"}, "rolled_back"},
		"rolled back before it is ready":     {[]string{"restarting", "started", "rolled back, ready"}, "rolled_back"},
		"rolled back when it is ready":       {[]string{"restarting", "started, ready on trial", "rolled back, ready"}, "rolled_back"},
		"restart after a rollback":           {[]string{"restarting", "rolled back, ready, restarting", "started, ready"}, "rolled_back ready"},
		"replaced":                           {[]string{"restarting", "started, restarting", "started, ready"}, "replaced ready"},
		"replaced on trial":                  {[]string{"restarting", "started, ready on trial, restarting", "started, ready"}, "replaced ready"},
		"replaced by one that fails":         {[]string{"restarting", "started, ready on trial, restarting", "started", "rolled back"}, "replaced rolled_back"},
		"replaced by one that hangs":         {[]string{"restarting", "started, ready on trial, restarting", "rolled back"}, "replaced rolled_back"},
		"called off":                         {[]string{"seen, draining, draining, rejected"}, "called_off"},
		"called off at the exec":             {[]string{"seen, restarting, rejected"}, "called_off"},
		"called off with a stand-in":         {[]string{"seen, standin, standin serves, rejected"}, "called_off"},
		"called off, tried again":            {[]string{"draining, rejected, draining, restarting", "started, ready"}, "called_off ready"},
		"called off on trial":                {[]string{"restarting", "started, draining, rejected, ready"}, "called_off ready"},
		"called off on trial, rolled back":   {[]string{"restarting", "started, draining, rejected", "rolled back"}, "called_off rolled_back"},
		"rejected":                           {[]string{"seen, rejected, rejected"}, ""},
		"rejected with a stand-in":           {[]string{"seen, standin, rejected"}, ""},
		"rejected by the gate":               {[]string{"seen, waiting, rejected"}, ""},
		"a crash":                            {[]string{"restarting", "started", "fresh, ready"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var c Course
			var got []string
			for _, image := range tt.images {
				for kind := range strings.SplitSeq(image, ", ") {
					e, ok := event[kind]
					if !ok {
						t.Fatalf("no event %q", kind)
					}
					for _, r := range c.Event(e) {
						got = append(got, r.Outcome)
						if !slices.Contains(Outcomes(), r.Outcome) {
							t.Errorf("%s is not among Outcomes", r.Outcome)
						}
					}
				}
				text, err := json.Marshal(c)
				if err == nil {
					c = Course{}
					err = json.Unmarshal(text, &c)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What is known of a restart comes from the images before and after the exec.
func TestCourseOfOneRestart(t *testing.T) {
	one, two := autorestart.BuildInfo{Version: "v1"}, autorestart.BuildInfo{Version: "v2"}
	var c Course
	for _, e := range []autorestart.Event{
		{Kind: autorestart.EventSeen, At: at(0), Old: one, New: two},
		{Kind: autorestart.EventWaiting, At: at(2), Old: one, New: two},
		{Kind: autorestart.EventDraining, At: at(5), Old: one, New: two, Times: times(0, 1)},
		{Kind: autorestart.EventRestarting, At: at(7), Old: one, New: two, Times: times(0, 1, 6, 7),
			Unfinished: []string{"2 connections of tcp 127.0.0.1:80", "1 connection of unix /run/a (1 hijacked)", "30 connections", "3 jobs"}},
		{Kind: autorestart.EventStarted, At: at(9), Generation: 1, Old: one, New: two, Times: times(0, 1, 6, 7, 8, 9)},
	} {
		if ended := c.Event(e); ended != nil {
			t.Fatalf("%v: the restart has ended: %v", e.Kind, ended)
		}
	}
	rolledBack := c
	ready := c.Event(autorestart.Event{Kind: autorestart.EventReady, At: at(10), Generation: 1, Times: times(0, 1, 6, 7, 8, 9, 10)})
	failed := rolledBack.Event(autorestart.Event{
		Kind: autorestart.EventRolledBack, At: at(20), Generation: 2, Old: two, New: one, Err: errors.New("why"), Times: times(15, 15, 16, 17, 18, 19),
	})
	for _, tt := range []struct {
		ended []Restart
		want  string
	}{
		{ready, "ready v1 v2 <nil> judged 0-1 allowed 1-5 quiesced 5-6 drained 6-7 executed 7-8 started 8-9 ready 9-10"},
		{failed, "rolled_back v1 v2 why judged 0-1 allowed 1-5 quiesced 5-6 drained 6-7 executed 7-8 started 8-9"},
	} {
		if len(tt.ended) != 1 {
			t.Fatalf("%d restarts have ended, want 1", len(tt.ended))
		}
		r := tt.ended[0]
		if got := describe(r); got != tt.want || r.Cut() != 3 || r.Waited() != 3*time.Second {
			t.Errorf("got  %s, %d connections cut, waited %v\nwant %s, 3, 3s", got, r.Cut(), r.Waited(), tt.want)
		}
	}
	if failed[0].Rollback.Seen != at(15) {
		t.Errorf("the rollback began at %v", failed[0].Rollback.Seen)
	}
}

func describe(r Restart) string {
	text := fmt.Sprint(r.Outcome, " ", r.Old, " ", r.New, " ", r.Err)
	for _, p := range r.Phases() {
		text += fmt.Sprintf(" %s %v-%v", p.Name, p.From.Sub(at(0)).Seconds(), p.To.Sub(at(0)).Seconds())
	}
	return text
}

// Phases have no negative duration, and those that are not known are left out.
func TestPhases(t *testing.T) {
	for want, a := range map[string]Attempt{
		"":                                    {},
		"judged 0-1":                          {Times: times(0, 1)},
		"judged 0-0 quiesced 0-0":             {Times: times(0, -1, -2)},
		"judged 0-1 allowed 1-3":              {Times: times(0, 1), WaitedFrom: at(1), WaitedUntil: at(3)},
		"judged 0-1 allowed 1-3 quiesced 3-4": {Times: times(0, 3, 4), WaitedFrom: at(1), WaitedUntil: at(3)},
	} {
		got := strings.TrimPrefix(describe(Restart{Attempt: a}), " unknown unknown <nil>")
		if strings.TrimSpace(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// An error of the Gate counts as that, whatever it says.
func TestReasonOfGate(t *testing.T) {
	var c Course
	rejected := autorestart.Event{Kind: autorestart.EventRejected, Err: &autorestart.RejectedError{Found: "a group without a free slot"}}
	if got := c.Reason(rejected); got != Other {
		t.Errorf("before the Gate was asked: got %s", got)
	}
	c.Event(autorestart.Event{Kind: autorestart.EventWaiting, At: at(0)})
	if got := c.Reason(rejected); got != GateRefused {
		t.Errorf("got %s, want %s", got, GateRefused)
	}
	c.Event(autorestart.Event{Kind: autorestart.EventDraining, At: at(1)})
	if got := c.Reason(rejected); got != Other {
		t.Errorf("when there was leave: got %s", got)
	}
}
