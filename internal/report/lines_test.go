package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A recorder records lines. Its hook is called before each of them.
type recorder struct {
	hook func(msg string)

	mu    sync.Mutex
	lines []string
}

func (r *recorder) Info(msg string, args ...any)  { r.record("INFO", msg, args) }
func (r *recorder) Warn(msg string, args ...any)  { r.record("WARN", msg, args) }
func (r *recorder) Error(msg string, args ...any) { r.record("ERROR", msg, args) }

func (r *recorder) record(level, msg string, args []any) {
	if r.hook != nil {
		r.hook(msg)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSpace(level+" "+msg+" "+strings.TrimSuffix(fmt.Sprintln(args...), "\n")))
}

func (r *recorder) want(t *testing.T, lines ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.lines, lines) {
		t.Errorf("logged %q\nwant   %q", r.lines, lines)
	}
}

const droppedText = "WARN " + droppedMessage + " lines "

// forget checks that nothing is kept of a logger that has all its lines.
func forget(t *testing.T) {
	t.Helper()
	linesMu.Lock()
	defer linesMu.Unlock()
	if len(queues) != 0 {
		t.Errorf("%d queues are left", len(queues))
	}
}

func TestLinesAreWrittenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(recorder)
		a, b := To(r), To(To(r)) // as of two runs with one logger
		a.Info("one", "n", 1)
		b.Warn("two", "reason", errors.New("no reason"))
		a.Error("three")
		Flush(time.Second)
		r.want(t, "INFO one n 1", "WARN two reason no reason", "ERROR three")
		synctest.Wait()
		forget(t) // and no goroutine, or the bubble would not end
	})
}

func TestNilLoggerIsSilent(t *testing.T) {
	l := To(nil)
	l.Info("a")
	l.Warn("b")
	To(l).Error("c")
	forget(t)
}

func TestLinesThatALoggerCannotTakeAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := &recorder{hook: func(string) { <-release }}
		l := To(r)
		l.Info("first")
		synctest.Wait() // the logger blocks
		for i := range maxLines + 10 {
			l.Info("line", "n", i)
		}
		close(release)
		Flush(time.Second)
		l.Info("last")
		Flush(time.Second)
		want := []string{"INFO first"}
		for i := range maxLines {
			want = append(want, fmt.Sprint("INFO line n ", i))
		}
		r.want(t, append(want, droppedText+"10", "INFO last")...)
		synctest.Wait()
		forget(t)
	})
}

// A pipe that is full takes lines again when it is read.
func TestLinesDroppedWhilePipeIsFullAreCounted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := To(&recorder{hook: func(msg string) { fmt.Fprintln(w, msg) }})
	line := strings.Repeat("x", 1<<10)
	const n = 4 * maxLines // more than a pipe and two batches have room for
	for range n {
		l.Info(line)
	}
	go func() {
		Flush(time.Minute)
		w.Close()
	}()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if written := bytes.Count(text, []byte(line)); written < maxLines || written >= n {
		t.Errorf("%d lines of %d were written", written, n)
	}
	if !bytes.Contains(text, []byte(droppedMessage+"\n")) {
		t.Error("no line about those that were dropped")
	}
}

func TestLoggerThatPanics(t *testing.T) {
	for name, fail := range map[string]func(){
		"panic":  func() { panic("no line") },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				queued := make(chan struct{})
				r := &recorder{hook: func(msg string) {
					switch msg {
					case "bad":
						fail()
					case "good":
						<-queued
					}
				}}
				l := To(r)
				l.Info("bad")
				Flush(time.Second)
				l.Info("good")
				l.Info("bad")
				l.Info("bad")
				l.Info("better")
				close(queued)
				Flush(time.Second)
				r.want(t, droppedText+"1", "INFO good", "INFO better", droppedText+"2")
				synctest.Wait()
				forget(t)
			})
		})
	}
}

// A logger that panics at the number of dropped lines, too, gets it with a later line.
func TestLoggerThatPanicsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panics := true
		r := &recorder{hook: func(string) {
			if panics {
				panic("no line")
			}
		}}
		l := To(r)
		for range 3 {
			l.Info("bad")
			Flush(time.Second)
			synctest.Wait() // nothing is tried again meanwhile
		}
		panics = false
		l.Info("good")
		Flush(time.Second)
		r.want(t, "INFO good", droppedText+"3")
		synctest.Wait()
		forget(t)
	})
}

// structLogger can be compared, as far as its value can.
type structLogger struct {
	*recorder
	value any
}

func TestLoggersThatCannotBeComparedKeepTheirOrder(t *testing.T) {
	r := new(recorder)
	f := testprocess.LogFunc(func(_, msg string) { r.Info(msg) })
	for name, l := range map[string]Logger{
		"function":          f,
		"struct with slice": structLogger{r, []int{1}},
		"NaN":               structLogger{r, math.NaN()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if keyOf(l) != nil {
					t.Error("it is equal to itself")
				}
				r.lines = nil
				var want []string
				for i := range 100 {
					To(l).Info(fmt.Sprint(i))
					want = append(want, fmt.Sprint("INFO ", i))
				}
				Flush(time.Second)
				r.want(t, want...)
				synctest.Wait()
				forget(t)
			})
		})
	}
}

// A logger that blocks does not keep the lines of another one back.
func TestLoggersDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		slow := &recorder{hook: func(string) { <-release }}
		fast := new(recorder)
		To(slow).Info("slow")
		To(fast).Info("fast")
		synctest.Wait()
		fast.want(t, "INFO fast")
		slow.want(t)
		close(release)
		Flush(time.Second)
		slow.want(t, "INFO slow")
	})
}

func TestFlushIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := &recorder{hook: func(string) { <-release }}
		To(r).Info("one")
		start := time.Now()
		Flush(10 * time.Millisecond)
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("Flush took %v", took)
		}
		go func() {
			time.Sleep(time.Second)
			close(release)
		}()
		Flush(time.Minute)
		if took := time.Since(start); took != 1010*time.Millisecond {
			t.Errorf("Flush took %v", took)
		}
		r.want(t, "INFO one")
		start = time.Now()
		Flush(time.Minute)
		if took := time.Since(start); took != 0 {
			t.Errorf("Flush took %v without lines", took)
		}
	})
}

// Lines that are logged after its call are not waited for.
func TestFlushWaitsForEarlierLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Logger
		var ended atomic.Bool
		l = To(&recorder{hook: func(string) {
			time.Sleep(time.Second)
			if !ended.Load() {
				l.Info("another")
			}
		}})
		l.Info("one")
		start := time.Now()
		Flush(time.Minute)
		if took := time.Since(start); took != time.Second {
			t.Errorf("Flush took %v", took)
		}
		ended.Store(true)
		Flush(time.Minute)
	})
}

// datedRecorder records how long ago a line was logged.
type datedRecorder struct {
	recorder
	start time.Time
}

func (r *datedRecorder) LogAt(at time.Time, msg string, args []any) {
	time.Sleep(time.Second)
	r.record(at.Sub(r.start).String(), msg, args)
}

func TestDatedLoggerGetsTheTimeOfTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &datedRecorder{start: time.Now()}
		var b Backlog
		b.Warn("early")
		time.Sleep(time.Millisecond)
		b.Attach(To(r))
		To(r).Info("two", "n", 2)
		b.Warn("three")
		Flush(time.Minute)
		r.want(t, "0s early", "1ms two n 2", "1ms three")
	})
}

func TestBacklogWaitsForALogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Backlog
		var want []string
		b.Attach(nil)
		for i := range maxWaiting + 5 {
			b.Warn("line", "n", i)
			if i < maxWaiting {
				want = append(want, fmt.Sprint("WARN line n ", i))
			}
		}
		r := new(recorder)
		b.Attach(r)
		b.Attach(nil)
		b.Warn("last")
		Flush(time.Second)
		r.want(t, append(want, "WARN log lines dropped: too many came before there was a logger lines 5", "WARN last")...)
	})
}

// A logger may log itself.
func TestLoggerThatLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Backlog
		r := new(recorder)
		r.hook = func(msg string) {
			if msg == "one" {
				b.Warn("two")
				b.Attach(r)
				Flush(time.Millisecond)
			}
		}
		b.Attach(r)
		b.Warn("one")
		Flush(time.Second)
		Flush(time.Second)
		r.want(t, "WARN one", "WARN two")
	})
}
