//go:build linux && !autorestart_portable

package systemd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/sdnotify"
	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A bubble is a notifier by the clock of synctest, and the socket that it sends to.
type bubble struct {
	*notifier
	t   *testing.T
	fd  int
	log testprocess.Log
}

func newBubble(t *testing.T, inherited *handover.State) *bubble {
	t.Helper()
	path := filepath.Join(testprocess.MemoryDir(t), "notify")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		t.Fatal(err)
	}
	socket, err := sdnotify.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b := &bubble{t: t, fd: fd}
	b.notifier = newNotifier(image.Start(inherited, nil), sdnotify.NewQueue(socket, b.logger()))
	t.Cleanup(func() {
		unix.Close(fd)
		socket.Close()
	})
	return b
}

func (b *bubble) logger() autorestart.Logger { return slog.New(slog.NewTextHandler(&b.log, nil)) }

// received returns the messages that have come, without the values of MONOTONIC_USEC and STATUS.
func (b *bubble) received() string {
	b.t.Helper()
	var messages []string
	for text := make([]byte, 5000); ; {
		n, _, err := unix.Recvfrom(b.fd, text, 0)
		if err == unix.EAGAIN {
			return strings.Join(messages, ", ")
		}
		if err != nil {
			b.t.Fatal(err)
		}
		fields := strings.Split(string(text[:n]), "\n")
		for i, field := range fields {
			key, value, _ := strings.Cut(field, "=")
			if key != "EXTEND_TIMEOUT_USEC" {
				value = ""
			}
			fields[i] = strings.TrimSuffix(key+"="+value, "=")
		}
		messages = append(messages, strings.Join(fields, " "))
	}
}

func (b *bubble) want(messages string) {
	b.t.Helper()
	synctest.Wait()
	if got := b.received(); got != messages {
		b.t.Fatalf("after %v it has sent %q, want %q", time.Since(bubbleBegin), got, messages)
	}
}

// bubbleBegin is when the clock of synctest begins.
var bubbleBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// watch starts a watchdog with a limit of one second.
func (b *bubble) watch(check func(context.Context) error) {
	w := &watchdog{notifier: b.notifier, check: check, interval: time.Second / 2, logger: b.logger(), end: make(chan struct{})}
	b.t.Cleanup(func() {
		close(w.end)
		synctest.Wait()
	})
	w.start()
}

// While a drain is slow, the timeouts are extended, until it ends.
func TestSlowDrain(t *testing.T) {
	for _, last := range []step.Kind{step.Restarting, step.Rejected} {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, new(handover.State))
			b.step(step.Ready, nil)
			b.want("READY STATUS")
			b.step(step.Draining, nil)
			b.want("RELOADING MONOTONIC_USEC EXTEND_TIMEOUT_USEC=15000000 STATUS")
			drained, err := b.image.Drainers.Begin(t.Context(), time.Minute, func([]string) {})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(14 * time.Second)
			b.want("EXTEND_TIMEOUT_USEC=15000000, EXTEND_TIMEOUT_USEC=15000000")
			drained.Resume()
			b.step(last, errors.New("called off"))
			if last == step.Rejected {
				b.want("RELOADING MONOTONIC_USEC READY STATUS")
			} else {
				b.want("EXTEND_TIMEOUT_USEC=75000000")
			}
			time.Sleep(time.Minute)
			b.want("")
		})
	}
}

// The watchdog is notified at half of its time, and before each message the program is asked. It need
// not answer before it is ready, and while it is drained; and it is not notified between the drain and
// the exec, which would undo the extension for the next version.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, new(handover.State))
		b.start()
		defer b.starting.Stop()
		var bad atomic.Bool
		bad.Store(true)
		var calls atomic.Int32
		b.watch(func(context.Context) error {
			calls.Add(1)
			if bad.Load() {
				return errors.New("it does not work")
			}
			return nil
		})
		b.want("WATCHDOG")
		time.Sleep(time.Second)
		b.want("WATCHDOG, WATCHDOG")
		if calls.Load() > 0 {
			t.Error("Check was called before Ready")
		}
		bad.Store(false)
		b.step(step.Ready, nil)
		b.want("READY STATUS")
		time.Sleep(time.Second)
		b.want("WATCHDOG, WATCHDOG")
		if n := calls.Load(); n != 2 {
			t.Errorf("Check was called %d times", n)
		}
		bad.Store(true)
		time.Sleep(5 * time.Second)
		b.want("")
		if n := strings.Count(b.log.String(), "level=WARN"); n != 1 || !strings.Contains(b.log.String(), "it does not work") {
			t.Errorf("it has logged %s", &b.log)
		}
		drained, err := b.image.Drainers.Begin(t.Context(), time.Second, func([]string) {})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.want("WATCHDOG, WATCHDOG")
		b.step(step.Restarting, nil)
		b.want("RELOADING MONOTONIC_USEC EXTEND_TIMEOUT_USEC=75000000 STATUS")
		time.Sleep(time.Second)
		b.want("")
		drained.Resume()
		b.step(step.Rejected, errors.New("called off"))
		b.want("RELOADING MONOTONIC_USEC READY STATUS")
		time.Sleep(time.Second)
		b.want("")
		bad.Store(false)
		time.Sleep(time.Second)
		b.want("WATCHDOG, WATCHDOG")
		if n := strings.Count(b.log.String(), "level=INFO"); n != 1 {
			t.Errorf("it has logged %s", &b.log)
		}
	})
}

// A Check that hangs or panics is as bad as one that fails. It is called again when it has returned.
func TestWatchdogCheckMisbehaves(t *testing.T) {
	for name, misbehave := range map[string]func(hang chan bool){
		"has not returned within 250ms": func(hang chan bool) { <-hang },
		"panicked":                      func(chan bool) { panic("at a check") },
		"a value that can't be printed": func(chan bool) { panic((*os.PathError)(nil)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, new(handover.State))
			b.step(step.Ready, nil)
			b.want("READY STATUS")
			hang := make(chan bool)
			var works atomic.Bool
			b.watch(func(context.Context) error {
				if !works.Load() {
					misbehave(hang)
				}
				return nil
			})
			b.want("WATCHDOG")
			time.Sleep(800 * time.Millisecond)
			works.Store(true)
			close(hang)
			b.want("")
			if n := strings.Count(b.log.String(), "level=WARN"); n != 1 || !strings.Contains(b.log.String(), name) {
				t.Errorf("it has logged %s", &b.log)
			}
			time.Sleep(199 * time.Millisecond) // before the limit
			b.want("WATCHDOG")
			time.Sleep(time.Second)
			b.want("WATCHDOG, WATCHDOG")
		})
	}
}

// A version that never calls Ready is taken for ready when its time for that is up: a reload must not
// wait for ever.
func TestNeverReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inherited := new(handover.State)
		inherited.Set(handover.PID, os.Getpid())
		b := newBubble(t, inherited)
		b.starting = time.AfterFunc(time.Minute, b.startingEnds)
		b.step(step.Rejected, errors.New("bad"))
		b.want("STATUS")
		time.Sleep(time.Minute)
		b.want("RELOADING MONOTONIC_USEC READY STATUS")
		b.step(step.Rejected, errors.New("bad"))
		b.want("RELOADING MONOTONIC_USEC READY STATUS")
	})
}

// A version with much time until it is ready extends the timeouts by that.
func TestLongStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inherited := new(handover.State)
		inherited.Set(handover.PID, os.Getpid())
		inherited.Set(handover.ReadyWithin, 5*60*1000)
		b := newBubble(t, inherited)
		t.Cleanup(image.Current().Use)
		b.image.Use()
		b.start()
		b.want("EXTEND_TIMEOUT_USEC=316000000")
		b.step(step.Ready, nil)
		b.want("RELOADING MONOTONIC_USEC READY STATUS")
	})
}

// A service that has not started, because it has not called Ready, says neither that it reloads nor
// that it is ready.
func TestNotReadyYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, new(handover.State))
		b.step(step.Draining, nil)
		b.want("EXTEND_TIMEOUT_USEC=15000000 STATUS")
		b.step(step.Rejected, errors.New("bad"))
		b.want("STATUS")
		b.step(step.Ready, nil)
		b.want("READY STATUS")
	})
}

func TestWatchdogInterval(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		usec, pid string
		want      time.Duration
		err       string
	}{
		{"", "", 0, ""},
		{"2000000", "", time.Second, ""},
		{"2000000", self, time.Second, ""},
		{"2000000", strconv.Itoa(os.Getppid()), 0, ""},
		{"1", self, time.Millisecond, ""},
		{"18446744073709551615", self, maxWatchdog / 2, ""},
		{"0", self, 0, "WATCHDOG_USEC"},
		{"-1", self, 0, "WATCHDOG_USEC"},
		{"2s", self, 0, "WATCHDOG_USEC"},
		{"2000000", "self", 0, "WATCHDOG_PID"},
	} {
		t.Setenv("WATCHDOG_USEC", test.usec)
		t.Setenv("WATCHDOG_PID", test.pid)
		got, err := watchdogInterval()
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%+v: %v, %v", test, got, err)
		}
	}
}
