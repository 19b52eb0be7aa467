package autorestarttest

import (
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/autorestart-go/autorestart/autorestarttest/internal/protocol"
)

// A report is that of one image of the daemon, or of a stand-in. Its fields are
// guarded by the mutex of reports.
type report struct {
	protocol.Start
	steps []protocol.Message
	ended bool
	used  int // steps that a call of a Want method has been about
}

// reports are those of all images of a daemon, in the order of their start.
type reports struct {
	mu    sync.Mutex
	all   []*report
	conns map[net.Conn]bool // nil after close
}

// receive receives the reports of the images that connect, until the socket is closed.
func (x *reports) receive(socket net.Listener) {
	x.mu.Lock()
	x.conns = make(map[net.Conn]bool)
	x.mu.Unlock()
	for {
		conn, err := socket.Accept()
		if err != nil {
			return
		}
		go x.follow(conn)
	}
}

// close ends the connections. The agents kill their processes.
func (x *reports) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for conn := range x.conns {
		conn.Close()
	}
	x.conns = nil
}

// follow receives the reports of one image.
func (x *reports) follow(conn net.Conn) {
	defer conn.Close()
	x.mu.Lock()
	open := x.conns != nil
	if open {
		x.conns[conn] = true
	}
	x.mu.Unlock()
	if !open {
		return
	}
	r := protocol.NewReceiver(conn)
	start, err := r.Start()
	if err != nil {
		return
	}
	i := &report{Start: *start}
	x.mu.Lock()
	x.all = append(x.all, i)
	x.mu.Unlock()
	for {
		m, err := r.Step()
		x.mu.Lock()
		if err != nil {
			i.ended = true
			delete(x.conns, conn)
			x.mu.Unlock()
			return
		}
		i.steps = append(i.steps, m)
		x.mu.Unlock()
	}
}

// has reports whether the image has reported a step.
func (i *report) has(step string) bool {
	for _, m := range i.steps {
		if m.Step == step {
			return true
		}
	}
	return false
}

// rejection returns the error of the last rejection that no call of a Want method was about, and
// whether it was that of a stand-in.
func (i *report) rejection() (reason string, ofStandIn bool) {
	standIn := false
	for _, m := range i.steps[i.used:] {
		switch m.Step {
		case protocol.StandInStarted:
			standIn = true
		case protocol.Rejected:
			reason, ofStandIn = m.Error, standIn
			standIn = false
		}
	}
	return reason, ofStandIn
}

// String returns what is known of the image, in a line.
func (i *report) String() string {
	var b strings.Builder
	what := "process"
	if i.StandIn {
		what = "stand-in"
	}
	fmt.Fprintf(&b, "%s %d, generation %d, version %d: started", what, i.PID, i.Generation, i.Version)
	if i.RolledBack != "" {
		fmt.Fprintf(&b, " by a rollback (%s)", i.RolledBack)
	}
	last := ""
	for _, m := range i.steps {
		text := m.Step
		if m.Error != "" {
			text += " (" + m.Error + ")"
		}
		if text != last {
			b.WriteString(", " + text)
		}
		last = text
	}
	if i.ended {
		b.WriteString(", ended")
	}
	return b.String()
}
