package drain

import (
	"context"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart/internal/report"
)

// An unfinisher is a Drainer that says what its Drain waits for: "" if that is nothing. It
// may be asked while Drain is running.
type unfinisher interface{ Unfinished() string }

const (
	// firstProgress is how long a drain may take before what it waits for is worth a line.
	firstProgress = time.Second

	// maxProgress is the longest pause between two lines.
	maxProgress = time.Minute
)

// progressTicks tells what a drain waits for, less and less often.
type progressTicks struct {
	c       <-chan time.Time // when to ask
	answers chan []string
	tell    func(unfinished []string)
	stop    func()
}

func newProgressTicks(timeout time.Duration, progress func(unfinished []string)) *progressTicks {
	t := &progressTicks{answers: make(chan []string, 1), stop: func() {}}
	if progress == nil {
		return t
	}
	pause := firstProgress
	timer := time.NewTimer(pause)
	t.c = timer.C
	t.stop = func() { timer.Stop() }
	start := time.Now()
	t.tell = func(unfinished []string) {
		if len(unfinished) > 0 {
			report.Info("draining: the restart waits for what is not done", "unfinished", strings.Join(unfinished, ", "),
				"after", time.Since(start).Round(time.Second).String(), "timeout", timeout.String())
			progress(unfinished)
		}
		pause = min(2*pause, maxProgress)
		timer.Reset(pause)
	}
	return t
}

// ask asks the members what they wait for. The drain does not wait for the answers: methods
// of the program may be slow.
func (t *progressTicks) ask(members []*member) {
	go func() {
		limit, cancel := context.WithTimeout(context.Background(), hookTimeout)
		defer cancel()
		answers := make([]<-chan string, len(members))
		for i, m := range members {
			answers[i] = m.askUnfinished(limit)
		}
		var all []string
		for _, answer := range answers {
			if text := <-answer; text != "" {
				all = append(all, text)
			}
		}
		t.answers <- all
	}()
}

// askUnfinished asks the Drainer what it waits for. One that does not say it in time is named.
func (m *member) askUnfinished(limit context.Context) (answer <-chan string) {
	c := make(chan string, 2) // an answer may still come when the time is up
	u, ok := m.drainer.(unfinisher)
	if !ok {
		c <- m.name()
		return c
	}
	go func() {
		err := m.asked.Call(limit, func() error {
			c <- u.Unfinished()
			return nil
		})
		if err != nil {
			c <- m.name()
		}
	}()
	return c
}

// unfinishedAfter returns what is left after Drain has failed because the time was up.
func (m *member) unfinishedAfter(limit context.Context, err error) string {
	if _, ok := m.drainer.(unfinisher); ok {
		return <-m.askUnfinished(limit)
	}
	return m.failure(err)
}

// failure names the Drainer and an error of its Drain.
func (m *member) failure(err error) string { return m.name() + ": " + err.Error() }
