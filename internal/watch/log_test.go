package watch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// capturedLog keeps the lines that are logged.
type capturedLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *capturedLog) Info(msg string, args ...any) { l.add("INFO ", msg, args) }
func (l *capturedLog) Warn(msg string, args ...any) { l.add("WARN ", msg, args) }

func (l *capturedLog) add(level, msg string, args []any) {
	line := level + msg
	for i := 0; i+1 < len(args); i += 2 {
		value := fmt.Sprint(args[i+1])
		if strings.ContainsAny(value, " =") {
			value = strconv.Quote(value)
		}
		line += fmt.Sprintf(" %s=%s", args[i], value)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

// take returns the lines since the last call.
func (l *capturedLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

func TestRejectionLog(t *testing.T) {
	broken, other, growing := errors.New("broken"), errors.New("other"), errors.New("growing")
	const (
		rejectedBroken  = "WARN new version rejected reason=broken"
		rejectedOther   = "WARN new version rejected reason=other"
		notReadyGrowing = "WARN new version not ready yet reason=growing"
		notReadyBroken  = "WARN new version not ready yet reason=broken"
	)
	type step struct {
		after time.Duration
		do    func(*RejectionLog)
		want  []string
	}
	rejected := func(err error) func(*RejectionLog) {
		return func(l *RejectionLog) { l.Rejected(err) }
	}
	notReady := func(err error) func(*RejectionLog) {
		return func(l *RejectionLog) { l.NotReady(err) }
	}
	clear := (*RejectionLog).Clear
	tests := []struct {
		name  string
		steps []step
	}{
		{"once for each reason", []step{
			{0, rejected(broken), []string{rejectedBroken}},
			{0, rejected(broken), nil},
			{time.Hour, rejected(broken), nil},
			{0, rejected(other), []string{rejectedOther}},
			{0, rejected(other), nil},
			{0, rejected(broken), []string{rejectedBroken}},
		}},
		{"again after a version that was fine", []step{
			{0, rejected(broken), []string{rejectedBroken}},
			{0, clear, nil},
			{0, rejected(broken), []string{rejectedBroken}},
		}},
		{"a reason that passes is not worth a line", []step{
			{0, notReady(growing), nil},
			{notReadyDelay - 1, notReady(growing), nil},
			{0, clear, nil},
			{time.Hour, notReady(growing), nil},
		}},
		{"a reason that does not pass is, once", []step{
			{0, notReady(growing), nil},
			{notReadyDelay, notReady(growing), []string{notReadyGrowing}},
			{0, notReady(growing), nil},
			{time.Hour, notReady(growing), nil},
		}},
		{"another reason is another line, less and less often", []step{
			{0, notReady(growing), nil},
			{notReadyDelay - 1, notReady(broken), nil},
			{1, notReady(broken), []string{notReadyBroken}},
			{1, notReady(growing), nil},
			{notReadyDelay, notReady(growing), []string{notReadyGrowing}},
			{notReadyDelay, notReady(broken), nil},
			{notReadyDelay, notReady(broken), []string{notReadyBroken}},
		}},
		{"not ready, then rejected", []step{
			{0, notReady(growing), nil},
			{0, rejected(broken), []string{rejectedBroken}},
			{time.Hour, notReady(broken), nil}, // it has been said
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log capturedLog
				rejections := RejectionLog{Logger: &log}
				for i, step := range test.steps {
					time.Sleep(step.after) // of the bubble's clock
					step.do(&rejections)
					if got := log.take(); !slices.Equal(got, step.want) {
						t.Errorf("step %d: got %q, want %q", i, got, step.want)
					}
				}
			})
		})
	}
}

// TestRejectionLogOfRejection: a rejection is logged as it is, and compared by its text.
func TestRejectionLogOfRejection(t *testing.T) {
	var log capturedLog
	rejections := RejectionLog{Logger: &log}
	for range 2 {
		rejections.Rejected(&candidate.Rejection{Path: "/app", Found: "a script", Expected: "a program"})
	}
	rejections.Rejected(errors.New("/app: found a script, expected a program"))
	want := []string{`WARN new version rejected reason="/app: found a script, expected a program"`}
	if got := log.take(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
