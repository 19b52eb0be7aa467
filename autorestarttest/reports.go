package autorestarttest

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/autorestarttest/internal/protocol"
	"github.com/autorestart-go/autorestart/internal/step"
)

// A report is that of one image of the daemon, or of a stand-in. Its fields are guarded by the mutex
// of reports.
type report struct {
	protocol.Start
	at    time.Time // of the start
	steps []protocol.Message
	ended time.Time // zero before the end
	used  int       // steps that a call of a Want method has been about
}

// reports are those of all images of a daemon, in the order of their start. The PID of an image that
// has not reported its start yet is 0.
type reports struct {
	mu        sync.Mutex
	all       []*report
	conns     map[net.Conn]bool // nil after close
	following sync.WaitGroup
}

// receive receives the reports of the images that connect, until the socket is closed.
func (x *reports) receive(socket net.Listener) {
	x.conns = make(map[net.Conn]bool)
	for {
		conn, err := socket.Accept()
		if err != nil {
			return
		}
		i := new(report)
		x.mu.Lock()
		x.conns[conn] = true
		x.all = append(x.all, i) // in the order in which they have connected
		x.mu.Unlock()
		x.following.Go(func() { x.follow(conn, i) })
	}
}

// close ends the connections, after receive has returned. The agents kill their processes.
func (x *reports) close() {
	x.mu.Lock()
	for conn := range x.conns {
		conn.Close()
	}
	x.mu.Unlock()
	x.following.Wait()
}

// follow receives the reports of one image.
func (x *reports) follow(conn net.Conn, i *report) {
	defer conn.Close()
	r := protocol.NewReceiver(conn)
	m, err := r.Start()
	x.mu.Lock()
	defer x.mu.Unlock()
	defer delete(x.conns, conn)
	if err != nil {
		return
	}
	i.Start, i.at = *m.Start, m.At
	for {
		x.mu.Unlock()
		m, err := r.Step()
		x.mu.Lock()
		if err != nil {
			i.ended = time.Now()
			return
		}
		i.steps = append(i.steps, m)
	}
}

// has reports whether the image has reported a step.
func (i *report) has(kind step.Kind) bool {
	for _, s := range i.steps {
		if s.Step == kind {
			return true
		}
	}
	return false
}

// rejection returns the error of the last rejection that no call of a Want method was about, and
// whether it was that of a stand-in.
func (i *report) rejection() (reason string, ofStandIn bool) {
	standIn := false
	for _, s := range i.steps[i.used:] {
		switch s.Step {
		case step.StandInStarted:
			standIn = true
		case step.Rejected:
			reason, ofStandIn = s.Error, standIn
			standIn = false
		}
	}
	return reason, ofStandIn
}

// timeFormat is that of all times in the messages of a test.
const timeFormat = "15:04:05.000"

// String returns what is known of the image, in a line.
func (i *report) String() string {
	var b strings.Builder
	what := "process"
	if i.StandIn {
		what = "stand-in"
	}
	fmt.Fprintf(&b, "%s %d, version %d, generation %d: started at %s", what, i.PID, i.Version, i.Generation, i.at.Format(timeFormat))
	if i.RolledBack != "" {
		fmt.Fprintf(&b, " by a rollback (%s)", i.RolledBack)
	}
	last := ""
	for _, s := range i.steps {
		text := s.Step
		if s.Error != "" {
			text += " (" + s.Error + ")"
		}
		if text != last { // as a drain that goes on
			fmt.Fprintf(&b, "; %s at %s", text, s.At.Format(timeFormat))
		}
		last = text
	}
	if !i.ended.IsZero() {
		fmt.Fprintf(&b, "; ended at %s", i.ended.Format(timeFormat))
	}
	return b.String()
}
