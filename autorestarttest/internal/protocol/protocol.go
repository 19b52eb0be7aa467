// Package protocol is what package autorestarttest and its agent in the daemon have in common: the
// label of a version, and the messages that the agent sends.
package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/step"
)

// A Label makes a version of one build: it is written after the end of the executable.
type Label struct {
	Version int
	Fault   string // see the constants; empty in a version that works
	Socket  string // on which the test listens
}

// Faults.
const (
	FaultPanic     = "panic"         // in Ready
	FaultInitPanic = "panic in init" // before main
	FaultExit      = "exit"          // in Ready
	FaultHang      = "hang"          // before main
	FaultNotReady  = "not ready"     // Ready does nothing
)

const labelStart = "\nautorestarttest "

// LabelSize is the size of each label in bytes.
const LabelSize = 256

// Bytes returns what stands after the end of the executable.
func (l Label) Bytes() []byte {
	text, _ := json.Marshal(l) // a number and texts
	return fmt.Appendf(nil, "%-*s\n", LabelSize-1, labelStart+string(text))
}

// ReadLabel reads the label of an executable. It reports false for a file without one.
func ReadLabel(executable io.ReadSeeker) (l Label, ok bool) {
	b := make([]byte, LabelSize)
	if _, err := executable.Seek(-LabelSize, io.SeekEnd); err != nil {
		return Label{}, false
	}
	if _, err := io.ReadFull(executable, b); err != nil {
		return Label{}, false
	}
	text, found := strings.CutPrefix(string(b), labelStart)
	if !found || json.Unmarshal([]byte(text), &l) != nil {
		return Label{}, false
	}
	return l, true
}

// A Message is sent by the agent. The first message of an image has Start, the others have Step.
type Message struct {
	At    time.Time
	Start *Start    `json:",omitempty"`
	Step  step.Kind `json:",omitempty"` // without a Restarter, Ready and Healthy alone
	Error string    `json:",omitempty"` // of the step
}

// A Start is the state in which an image begins.
type Start struct {
	PID, Generation, Version int
	StandIn                  bool
	OnTrial                  bool
	ReadyWithin              time.Duration // on trial; 0 in a stand-in, which does not know it
	HealthWithin             time.Duration // on trial, after Ready; 0 in a stand-in
	RolledBack               string        // why a newer version was rolled back to this one
	Times                    autorestart.RestartTimes
}

// A Receiver reads the messages of an agent.
type Receiver struct{ d *json.Decoder }

// NewReceiver returns the receiver for a connection.
func NewReceiver(r io.Reader) Receiver { return Receiver{json.NewDecoder(r)} }

var errNoStart = errors.New("autorestarttest: the first message does not say how the image begins")

// Start reads the first message.
func (r Receiver) Start() (m Message, err error) {
	m, err = r.Step()
	if err == nil && m.Start == nil {
		err = errNoStart
	}
	return m, err
}

// Step reads another message.
func (r Receiver) Step() (m Message, err error) {
	err = r.d.Decode(&m)
	return m, err
}
