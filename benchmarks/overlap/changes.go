//go:build linux

package overlap

import (
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
)

// A change is a moment of a deploy in which the processes change their parts.
type change struct {
	what string
	at   time.Time
}

// Changes, in their order.
const (
	processStarted = "process started"
	processServes  = "process serves"
	execDone       = "exec"
	mainReady      = "main ready"
	processEnded   = "process ended"
)

var allChanges = []string{processStarted, processServes, execDone, mainReady, processEnded}

// changesOf returns the changes of the deploy of a version, which began at a time. It is called
// with p locked.
func (p *processes) changesOf(s *servers.Server, version int, deployed time.Time) (changes []change) {
	add := func(what string, at time.Time) {
		if !at.IsZero() {
			changes = append(changes, change{what, at})
		}
	}
	for _, l := range p.since(deployed) {
		add(processStarted, l.seen)
	}
	if ready, ok := p.reports.of(version, false); ok {
		add(processServes, ready.Quiesced)
		add(execDone, ready.Executed)
		if s == servers.Ours {
			add(mainReady, ready.Ready)
		} else {
			add(processServes, ready.Ready)
		}
	}
	for _, l := range p.all {
		if l.ended.After(deployed) {
			add(processEnded, l.ended)
		}
	}
	return changes
}
