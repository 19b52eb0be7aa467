//go:build unix

package standin

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A simulatedChild is a stand-in in this process, whose main process the test plays.
type simulatedChild struct {
	*Child
	main   *end
	exited chan int // has its exit status
}

// asChild runs f with a stand-in, in a bubble.
func asChild(t *testing.T, f func(t *testing.T, c simulatedChild)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &handover.State{IsStandIn: true}
		i := image.Start(h, nil)
		i.Drainers.Hold()
		own, main := newChannelInMemory()
		exited := make(chan int, 1)
		before := exit
		exit = func(status int) {
			exited <- status
			own.close()
			runtime.Goexit()
		}
		c := simulatedChild{join(i, own), main, exited}
		t.Cleanup(func() {
			main.close()
			own.close()
			exit = before
		})
		f(t, c)
	})
}

// A stand-in that does not hear its main process ends at once, and says why. The main process would
// wait for its Ready until the ReadyTimeout is over.
func TestJoinWithoutChannel(t *testing.T) {
	before := exit
	defer func() { exit = before }()
	exited := make(chan int, 1)
	exit = func(status int) {
		exited <- status
		runtime.Goexit()
	}
	h := &handover.State{IsStandIn: true}
	h.Set(handover.Channel, -1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		Join(image.Start(h, nil))
	}()
	<-done
	select {
	case status := <-exited:
		if status != 1 {
			t.Errorf("it exits with status %d", status)
		}
	default:
		t.Error("it goes on")
	}
}

// A part is a Drainer that notes what was called.
type part struct {
	resuming time.Duration // how long Resume takes
	draining time.Duration // and Drain

	mu     sync.Mutex
	called string
}

func (p *part) note(call string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.called += call + " "
}

func (p *part) calls() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.called
}

func (p *part) Quiesce() { p.note("quiesce") }

func (p *part) Drain(ctx context.Context) error {
	p.note("drain")
	select {
	case <-time.After(p.draining):
		return nil
	case <-ctx.Done():
		p.note("cut")
		return errors.New("one is left")
	}
}

func (p *part) Resume() {
	time.Sleep(p.resuming)
	p.note("resume")
}

func (c simulatedChild) serve(t *testing.T) {
	t.Helper()
	c.main.say(t, message{kind: serve, n: uint64(drainTime.Milliseconds())})
	synctest.Wait()
}

// wantExit waits for the exit.
func (c simulatedChild) wantExit(t *testing.T, status int) {
	t.Helper()
	if got := <-c.exited; got != status {
		t.Errorf("exit status %d, want %d", got, status)
	}
}

// A stand-in accepts as soon as its main process says so, and not before.
func TestChildServes(t *testing.T) {
	asChild(t, func(t *testing.T, c simulatedChild) {
		p := new(part)
		c.image.Drainers.Register(p)
		c.Ready()
		c.main.want(t, ready)
		if p.calls() != "quiesce " {
			t.Errorf("before it serves: %s", p.calls())
		}
		c.serve(t)
		if p.calls() != "quiesce resume " {
			t.Errorf("when it serves: %s", p.calls())
		}
	})
}

// Parts of the program that take long to resume hold up no answer: without one, the stand-in would
// be killed.
func TestPingWhileChildBegins(t *testing.T) {
	asChild(t, func(t *testing.T, c simulatedChild) {
		c.image.Drainers.Register(&part{resuming: time.Minute})
		c.serve(t)
		start := time.Now()
		c.main.say(t, message{kind: ping})
		c.main.want(t, pong)
		if took := time.Since(start); took > 0 {
			t.Errorf("the answer took %v", took)
		}
		time.Sleep(time.Hour)
	})
}

// A signal may come before the program has said what is to be done with it.
func TestEarlySignal(t *testing.T) {
	asChild(t, func(t *testing.T, c simulatedChild) {
		c.main.say(t, message{kind: signaled, n: uint64(syscall.SIGTERM)})
		synctest.Wait()
		var got []syscall.Signal
		c.OnSignal(func(sig syscall.Signal) { got = append(got, sig) })
		c.main.say(t, message{kind: signaled, n: uint64(syscall.SIGHUP)})
		synctest.Wait()
		if !slices.Equal(got, []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP}) {
			t.Errorf("signals %v", got)
		}
	})
}

// A stand-in that retires gives its connections, drains, sends what it has set, and exits.
func TestChildRetires(t *testing.T) {
	asChild(t, func(t *testing.T, c simulatedChild) {
		p := &part{draining: time.Second}
		c.image.Drainers.Register(p)
		c.serve(t)
		c.image.Store.SetState("count", []byte("7"))
		c.main.say(t, message{kind: retire, n: uint64(drainTime.Milliseconds())})
		synctest.Wait()
		if !c.image.Beside.Leaves() {
			t.Error("the parts of the program do not know that it leaves")
		}
		given := make(chan error, 1)
		fd := openFile(t)
		go func() { given <- c.image.Beside.Give(image.Conn{Key: "key", State: []byte("GET"), FD: fd}) }()
		m := c.main.want(t, give)
		if m.text != "key" || string(m.data) != "GET" {
			t.Errorf("it gives %+v", m)
		}
		sys.NewFD(m.fd).Close()
		c.main.say(t, message{kind: taken, n: m.n})
		if err := <-given; err != nil {
			t.Error(err)
		}
		m = c.main.want(t, farewell)
		main := passing.NewStore(new(handover.State))
		main.TakeStates(m.fd)
		if value, _ := main.State("count"); string(value) != "7" {
			t.Errorf("the state is %q", value)
		}
		c.wantExit(t, 0)
		if p.calls() != "quiesce resume quiesce drain " {
			t.Error(p.calls())
		}
	})
}

// A stand-in drains for as long as it is told first, also if its main process ends meanwhile.
func TestChildRetiresOnce(t *testing.T) {
	for _, mainEnds := range []bool{false, true} {
		asChild(t, func(t *testing.T, c simulatedChild) {
			p := &part{draining: time.Hour}
			c.image.Drainers.Register(p)
			c.serve(t)
			start := time.Now()
			for _, ms := range []uint64{5000, 50} {
				c.main.say(t, message{kind: retire, n: ms})
				synctest.Wait()
			}
			if mainEnds {
				go c.mainEnded(false)
			} else if m := c.main.want(t, farewell); m.fd != -1 {
				t.Error("it sends states, and has set none")
			}
			c.wantExit(t, 0)
			if took := time.Since(start); took != 5*time.Second || p.calls() != "quiesce resume quiesce drain cut " {
				t.Errorf("exit after %v: %s", took, p.calls())
			}
		})
	}
}

// When the main process has ended, a stand-in that serves frees the addresses, drains and exits.
// Any other exits at once.
func TestMainEnds(t *testing.T) {
	for _, serves := range []bool{false, true} {
		asChild(t, func(t *testing.T, c simulatedChild) {
			p := &part{draining: time.Hour}
			c.image.Drainers.Register(p)
			lost := false
			c.image.Beside.OnLost(func() { lost = true })
			wantStatus, wantTime := 1, time.Duration(0)
			if serves {
				c.serve(t)
				wantStatus, wantTime = 0, drainTime
			}
			start := time.Now()
			go c.mainEnded(false)
			c.wantExit(t, wantStatus)
			if took := time.Since(start); lost != serves || took != wantTime {
				t.Errorf("serves: %v; lost: %v, exit after %v", serves, lost, took)
			}
		})
	}
}

// A connection that is being given when the main process ends is the stand-in's again, also if
// another process has the end of the channel open.
func TestMainEndsWhileConnectionIsGiven(t *testing.T) {
	asChild(t, func(t *testing.T, c simulatedChild) {
		c.serve(t)
		c.main.say(t, message{kind: retire, n: uint64(drainTime.Milliseconds())})
		c.image.Drainers.Register(&part{draining: time.Hour})
		synctest.Wait()
		given := make(chan error, 1)
		fd := openFile(t)
		go func() { given <- c.image.Beside.Give(image.Conn{Key: "key", FD: fd}) }()
		m := c.main.want(t, give)
		sys.NewFD(m.fd).Close()
		start := time.Now()
		go c.mainEnded(false)
		if err := <-given; err != image.ErrLost || time.Since(start) > time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		c.wantExit(t, 0)
	})
}
