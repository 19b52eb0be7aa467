package autorestart

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// capturedLog keeps what it is told, without the time.
type capturedLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *capturedLog) Info(msg string, args ...any)  { l.add("INFO ", msg, args) }
func (l *capturedLog) Warn(msg string, args ...any)  { l.add("WARN ", msg, args) }
func (l *capturedLog) Error(msg string, args ...any) { l.add("ERROR ", msg, args) }

func (l *capturedLog) add(level, msg string, args []any) {
	const zero = "1970-01-01T00:00:00Z "
	line := logLine(time.Unix(0, 0), level+msg, args)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line[len(zero):len(line)-1])
}

// take returns the lines since the last call.
func (l *capturedLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

func TestRefusalLog(t *testing.T) {
	broken, other, growing := errors.New("broken"), errors.New("other"), errors.New("growing")
	const (
		refusedBroken   = "WARN new version refused reason=broken"
		refusedOther    = "WARN new version refused reason=other"
		notReadyGrowing = "WARN new version not ready yet reason=growing"
		notReadyBroken  = "WARN new version not ready yet reason=broken"
	)
	type step struct {
		after time.Duration
		do    func(*refusalLog, Logger)
		want  []string
	}
	final := func(err error) func(*refusalLog, Logger) {
		return func(l *refusalLog, to Logger) { l.final(to, err) }
	}
	pending := func(err error) func(*refusalLog, Logger) {
		return func(l *refusalLog, to Logger) { l.pending(to, err) }
	}
	clear := func(l *refusalLog, _ Logger) { l.clear() }
	tests := []struct {
		name  string
		steps []step
	}{
		{"once for each reason", []step{
			{0, final(broken), []string{refusedBroken}},
			{0, final(broken), nil},
			{time.Hour, final(broken), nil},
			{0, final(other), []string{refusedOther}},
			{0, final(other), nil},
			{0, final(broken), []string{refusedBroken}},
		}},
		{"again after a version that was fine", []step{
			{0, final(broken), []string{refusedBroken}},
			{0, clear, nil},
			{0, final(broken), []string{refusedBroken}},
		}},
		{"what passes is not worth a line", []step{
			{0, pending(growing), nil},
			{refusalPatience - 1, pending(growing), nil},
			{0, clear, nil},
			{time.Hour, pending(growing), nil},
		}},
		{"what does not pass is, once", []step{
			{0, pending(growing), nil},
			{refusalPatience, pending(growing), []string{notReadyGrowing}},
			{0, pending(growing), nil},
			{time.Hour, pending(growing), nil},
		}},
		{"another reason is another line, less and less often", []step{
			{0, pending(growing), nil},
			{refusalPatience - 1, pending(broken), nil},
			{1, pending(broken), []string{notReadyBroken}},
			{1, pending(growing), nil},
			{refusalPatience, pending(growing), []string{notReadyGrowing}},
			{refusalPatience, pending(broken), nil},
			{refusalPatience, pending(broken), []string{notReadyBroken}},
		}},
		{"pending, then for good", []step{
			{0, pending(growing), nil},
			{0, final(broken), []string{refusedBroken}},
			{time.Hour, pending(broken), nil}, // it has been said
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var refusals refusalLog
				var log capturedLog
				for i, step := range test.steps {
					time.Sleep(step.after) // of the bubble's clock
					step.do(&refusals, &log)
					if got := log.take(); !slices.Equal(got, step.want) {
						t.Errorf("step %d: got %q, want %q", i, got, step.want)
					}
				}
			})
		})
	}
}
