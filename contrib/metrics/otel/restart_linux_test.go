package autorestartotel_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
)

// A traced daemon.
type traced struct {
	*Daemon
	file  string
	begin time.Time
}

func startTraced(t *testing.T) *traced {
	file := filepath.Join(t.TempDir(), "spans")
	return &traced{Start(t, "traced", spansEnv+"="+file), file, time.Now()}
}

// exported returns the spans in the file.
func (d *traced) exported() (spans []span) {
	d.T.Helper()
	b, err := os.ReadFile(d.file)
	if err != nil && !os.IsNotExist(err) {
		d.T.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var s span
		if err := json.Unmarshal(line, &s); err != nil {
			d.T.Fatal(err)
		}
		spans = append(spans, s)
	}
	return spans
}

// find returns the span of the last restart with an outcome, and its children.
func find(spans []span, outcome string) (found span, children []span) {
	for _, s := range spans {
		if s.Attributes["autorestart.outcome"] == outcome {
			found = s
		}
	}
	for _, s := range spans {
		if found.Name != "" && s.Parent == found.ID {
			children = append(children, s)
		}
	}
	slices.SortFunc(children, func(a, b span) int { return a.From.Compare(b.From) })
	return found, children
}

// wait flushes until there is a span of a restart with the outcome, and returns it with the names of its children.
func (d *traced) wait(outcome string) (found span, names []string) {
	d.T.Helper()
	var children []span
	WaitFor(d.T, "a span with outcome "+outcome, func() bool {
		d.WantAnswer("flush", "")
		found, children = find(d.exported(), outcome)
		return found.Name != ""
	})
	return found, d.check(found, children)
}

// check checks what holds for each span of a restart and its children, and returns the names of these.
func (d *traced) check(found span, children []span) (names []string) {
	d.T.Helper()
	now := time.Now()
	if found.Name != "autorestart.restart" || found.Parent != "0000000000000000" || found.Attributes["autorestart.path"] != d.Path ||
		found.From.Before(d.begin) || found.To.Before(found.From) || found.To.After(now) {
		d.T.Errorf("got span %+v", found)
	}
	at := found.From
	for _, child := range children {
		names = append(names, child.Name)
		if child.Trace != found.Trace || child.From.Before(at) || child.To.Before(child.From) || child.To.After(found.To) {
			d.T.Errorf("child %s is from %v to %v, in a span from %v to %v", child.Name, child.From, child.To, found.From, found.To)
		}
		at = child.To
	}
	return names
}

// wantStatus checks status, and that an error is in an event of the span.
func wantStatus(t *testing.T, s span, status, description string) {
	t.Helper()
	if s.Status != status || s.Description != description || (s.Events == 1) != (status == "Error") {
		t.Errorf("got status %s %q with %d events, want %s %q", s.Status, s.Description, s.Events, status, description)
	}
}

func wantAttributes(t *testing.T, s span, want map[string]string) {
	t.Helper()
	for name, want := range want {
		if got := s.Attributes["autorestart."+name]; got != want {
			t.Errorf("attribute %s is %q, want %q", name, got, want)
		}
	}
}

// The new version makes the span of a restart, with its phases at their times.
func TestSpanOfRestart(t *testing.T) {
	d := startTraced(t)
	d.Deploy()
	d.WantRestart(2)
	s, children := d.wait("ready")
	wantStatus(t, s, "Unset", "")
	wantAttributes(t, s, map[string]string{"generation": "1", "reason": "", "unfinished": ""})
	if s.Attributes["autorestart.new.build_id"] == "" || s.Attributes["autorestart.old.build_id"] == "" {
		t.Errorf("builds are not known: %v", s.Attributes)
	}
	want := []string{
		"autorestart.judged", "autorestart.quiesced", "autorestart.drained", "autorestart.executed", "autorestart.started", "autorestart.ready",
	}
	if !slices.Equal(children, want) {
		t.Errorf("children are %q, want %q", children, want)
	}
	d.Deploy()
	d.WantRestart(3)
	s, _ = d.wait("ready")
	WaitFor(t, "the span of the second restart", func() bool {
		s, _ = d.wait("ready")
		return s.Attributes["autorestart.generation"] == "2"
	})
	if n := len(d.exported()); n != 2*(1+len(want)) {
		t.Errorf("%d spans of two restarts", n)
	}
}

// The version that runs again makes the span of a rollback. It has the times that the version that
// failed has known.
func TestSpanOfRollback(t *testing.T) {
	d := startTraced(t)
	d.WantAnswer("fail it is no good", "")
	d.Deploy()
	d.NextStart()
	if version := d.NextStart().Version; version != 1 {
		t.Fatalf("version %d runs, want 1", version)
	}
	s, children := d.wait("rolled_back")
	wantStatus(t, s, "Error", "autorestart: the new version was rolled back: main panicked: it is no good")
	wantAttributes(t, s, map[string]string{"generation": "2", "reason": ""})
	if len(children) < 3 || children[0] != "autorestart.judged" || children[len(children)-1] != "autorestart.rollback" {
		t.Errorf("children are %q, want the phases from autorestart.judged on, and autorestart.rollback", children)
	}
	// The version that failed stays at the path.
	s, _ = d.wait("rejected")
	wantAttributes(t, s, map[string]string{"reason": "failed"})
}

// The old version makes the spans of what is not executed, and flushes them before the next exec.
func TestSpansBeforeExec(t *testing.T) {
	d := startTraced(t)
	d.DeployBytes([]byte("no program"))
	d.waitRejections("1")
	d.WantAnswer("call-off", "")
	d.Deploy()
	d.waitRejections("2")
	if spans := d.exported(); spans != nil {
		t.Errorf("exported before a flush: %v", spans)
	}
	d.Deploy()
	d.WantRestart(3)
	spans := d.exported()

	s, children := find(spans, "rejected")
	d.check(s, children)
	wantAttributes(t, s, map[string]string{"generation": "0", "reason": "format"})
	if s.Status != "Error" || len(children) > 0 {
		t.Errorf("got status %s, children %v", s.Status, children)
	}
	s, children = find(spans, "called_off")
	d.check(s, children)
	wantStatus(t, s, "Error", "not today")
	wantAttributes(t, s, map[string]string{"generation": "0", "reason": "other"})
	s, _ = d.wait("ready")
	wantAttributes(t, s, map[string]string{"generation": "1"})
}

func (d *traced) waitRejections(want string) {
	d.T.Helper()
	WaitFor(d.T, want+" rejections", func() bool { return d.Ask("rejections", "done") == want })
}
