package statuspage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A script is the life of a daemon, step by step:
//
//	start            the first version
//	exec             the next version; with "trial" it can be rolled back
//	rollback         the version before the last one runs again
//	ask ID           a request arrives
//	withdraw ID      its process does not wait any more
//	serve            requests are taken; the IDs of a restart are added to begun
//	fail KIND ID     the restart for these requests returns
//	STEP             any other line is a step of a restart
type script struct {
	book    *book
	now     time.Time
	arrived []string
	begun   []string
}

func (s *script) run(t *testing.T, line string) {
	t.Helper()
	s.now = s.now.Add(time.Second)
	word, arg, _ := strings.Cut(line, " ")
	next := func(start Start) {
		var previous record
		if s.book != nil {
			var err error
			if previous, err = parseRecord(s.book.encode()); err != nil {
				t.Fatal(err)
			}
		}
		start.PID, start.Version = 1, fmt.Sprint("v", start.Generation)
		s.book = begin(previous, start, s.now)
	}
	trial := func(is bool) func() bool { return func() bool { return is } }
	switch word {
	case "start":
		next(Start{})
	case "exec":
		next(Start{Generation: s.book.Generation + 1, OnTrial: trial(arg == "trial")})
	case "rollback":
		next(Start{Generation: s.book.Generation + 1, RolledBack: errors.New("it is bad")})
	case "ask":
		s.arrived = append(s.arrived, arg)
	case "withdraw":
		s.arrived = slices.DeleteFunc(s.arrived, func(id string) bool { return id == arg })
	case "serve":
		s.book.keep(s.arrived)
		s.begun = append(s.begun, strings.Join(s.book.take(s.arrived), "+"))
	case "fail":
		kind, ids, _ := strings.Cut(arg, " ")
		s.book.failed(strings.Split(ids, "+"), OutcomeKind(kind), errors.New("autorestart: no good"), s.now)
	case "rejected":
		s.book.step(word, errors.New("bad file"), false, s.arrived, s.now)
	case "ready":
		s.book.step(word, nil, arg == "trial", s.arrived, s.now)
	default:
		s.book.step(line, nil, false, s.arrived, s.now)
	}
}

const (
	a = "0000000000000000000000000000000a"
	b = "0000000000000000000000000000000b"
)

func TestBook(t *testing.T) {
	tests := map[string]struct {
		script string
		begun  string // restarts, separated by commas
		want   string // phase, whether on trial, last outcome, and the outcome of each request
	}{
		"first version":          {"start", "", "starting;"},
		"first version is ready": {"start; ready", "", "serving;"},
		"without a request":      {"start; ready; draining; restarting; exec; ready", "", "serving; v1 ready"},
		"on trial":               {"start; ready; restarting; exec trial; ready trial", "", "serving on trial;"},
		"healthy":                {"start; ready; restarting; exec trial; ready trial; healthy", "", "serving; v1 healthy"},
		"rolled back":            {"start; ready; restarting; exec trial; rollback", "", "starting; v2 rolled back: it is bad"},
		"serving after rollback": {"start; ready; restarting; exec trial; rollback; ready", "", "serving; v2 rolled back: it is bad"},
		"rejected":               {"start; ready; draining; rejected", "", "serving; v0 rejected: bad file"},
		"rejected while starting": {
			"start; draining; rejected", "", "starting; v0 rejected: bad file",
		},
		"unknown steps": {"start; ready; stand-in serves; anything", "", "serving;"},

		"request": {
			"start; ready; ask A; serve; draining; restarting; exec; ready", "A", "serving; v1 ready; A v1 ready",
		},
		"request is under way": {
			"start; ready; ask A; serve; draining; restarting; exec", "A", "starting; A under way",
		},
		"request is answered when the trial has ended": {
			"start; ready; ask A; serve; restarting; exec trial; ready trial", "A", "serving on trial; A under way",
		},
		"request into a healthy version": {
			"start; ready; ask A; serve; restarting; exec trial; ready trial; healthy", "A", "serving; v1 healthy; A v1 healthy",
		},
		"request is rolled back": {
			"start; ready; ask A; serve; restarting; exec trial; rollback; ready", "A",
			"serving; v2 rolled back: it is bad; A v2 rolled back: it is bad",
		},
		"request is rejected": {
			"start; ready; ask A; serve; fail rejected A", "A", "serving; v0 rejected: no good; A v0 rejected: no good",
		},
		"request is rejected after a drain": {
			"start; ready; ask A; serve; draining; rejected; fail rejected A; serve", "A,",
			"serving; v0 rejected: no good; A v0 rejected: no good",
		},
		"another file is rejected": {
			"start; ready; ask A; serve; rejected", "A", "serving; v0 rejected: bad file; A under way",
		},
		"requests at the same time": {
			"start; ready; ask A; ask B; serve; restarting; exec; ready", "A+B", "serving; v1 ready; A v1 ready; B v1 ready",
		},
		"the next request": {
			"start; ready; ask A; serve; fail rejected A; withdraw A; ask B; serve", "A,B", "serving; v0 rejected: no good; B under way",
		},
		"an answered request begins nothing": {
			"start; ready; ask A; serve; restarting; exec; ready; serve; serve", "A,,", "serving; v1 ready; A v1 ready",
		},
		"a request that was withdrawn": {"start; ready; ask A; withdraw A; serve", "", "serving;"},

		"phases before a drain": {"start; ready; verifying", "", "verifying;"},
		"gate":                  {"start; ready; verifying; waiting; ask A; serve", "A", "waiting; A under way"},
		"gate refuses":          {"start; ready; verifying; waiting; rejected", "", "serving; v0 rejected: bad file"},
		"gate refuses a version that is starting": {"start; verifying; waiting; rejected", "", "starting; v0 rejected: bad file"},

		"request before the exec of another restart": {
			"start; ready; draining; ask A; serve; restarting; exec; ready; serve", ",", "serving; v1 ready; A v1 ready",
		},
		"request right before the exec": {
			"start; ready; draining; restarting; ask A; serve; exec; serve", ",A", "starting; A under way",
		},
		"that exec has failed": {
			"start; ready; draining; ask A; restarting; rejected; serve", "A", "serving; v0 rejected: bad file; A under way",
		},
		"that restart was called off while draining": {
			"start; ready; draining; ask A; serve; rejected; serve", ",A", "serving; v0 rejected: bad file; A under way",
		},
		"request after a stand-in has started": {
			"start; ready; stand-in started; draining; ask A; restarting; exec; serve", "A", "starting; A under way",
		},
		"that stand-in has failed": {
			"start; ready; stand-in started; rejected; draining; ask A; restarting; exec; ready", "", "serving; v1 ready; A v1 ready",
		},

		"request to a version that is starting": {
			"start; ready; restarting; exec; ask A; serve; ready", "A", "serving; v1 ready; A under way",
		},
		"request to a version on trial": {
			"start; ready; ask A; serve; restarting; exec trial; ready trial; ask B; serve; restarting; exec trial; ready trial; healthy",
			"A,B", "serving; v2 healthy; A v2 healthy; B v2 healthy",
		},
		"both versions are rolled back": {
			"start; ready; ask A; serve; restarting; exec trial; ready trial; ask B; serve; restarting; exec trial; rollback",
			"A,B", "starting; v3 rolled back: it is bad; A v3 rolled back: it is bad; B v3 rolled back: it is bad",
		},
		"the second of them is rejected": {
			"start; ready; ask A; serve; restarting; exec trial; ready trial; ask B; serve; fail rejected B",
			"A,B", "serving on trial; v1 rejected: no good; A under way; B v1 rejected: no good",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &script{now: time.Unix(1700000000, 0)}
			for line := range strings.SplitSeq(tt.script, "; ") {
				line = strings.NewReplacer(" A", " "+a, " B", " "+b).Replace(line)
				s.run(t, line)
			}
			short := strings.NewReplacer(a, "A", b, "B")
			if got := short.Replace(s.book.describe()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			begun := short.Replace(strings.Join(s.begun, ","))
			if begun != tt.begun {
				t.Errorf("restarts %q, want %q", begun, tt.begun)
			}
		})
	}
}

func (b *book) describe() string {
	text := string(b.Phase)
	if b.Trial {
		text += " on trial"
	}
	text += ";"
	add := func(o Outcome) {
		if o.Kind == "" {
			text += " under way"
			return
		}
		text += " " + o.Version + " " + string(o.Kind)
		if o.Reason != "" {
			text += ": " + o.Reason
		}
	}
	if b.Last.Kind != "" {
		add(b.Last)
		text += ";"
	}
	for _, e := range b.requests {
		text += " " + e.id
		add(e.outcome)
		text += ";"
	}
	if strings.Count(text, ";") > 1 {
		text = strings.TrimSuffix(text, ";")
	}
	return text
}

// Since is the time at which the phase has begun, also if its step is repeated.
func TestPhaseHasBegun(t *testing.T) {
	s := &script{}
	for _, line := range []string{"start", "ready", "draining"} {
		s.run(t, line)
	}
	since := s.now
	s.run(t, "draining")
	if !s.book.Since.Equal(since) {
		t.Errorf("since %v, want %v", s.book.Since, since)
	}
	s.run(t, "rejected")
	if !s.book.Since.Equal(s.now) {
		t.Errorf("since %v, want %v", s.book.Since, s.now)
	}
}
