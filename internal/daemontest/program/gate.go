//go:build linux

package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
)

// testGate asks the test for leave, by the event "acquire", and waits for the command "leave STATE" or
// "refuse REASON". It says by "released" what it is told, and by "withdrawn" that nothing waits any more.
type testGate struct{}

// leaves are the answers of the test.
var leaves = make(chan string)

func (testGate) Acquire(ctx context.Context, c autorestart.Change, exe *os.File) ([]byte, error) {
	info, err := exe.Stat()
	if err != nil || info.Size() != c.Size {
		return nil, fmt.Errorf("%d bytes, %v; expected %d bytes", info.Size(), err, c.Size)
	}
	daemontest.Say("acquire", c.Path)
	select {
	case answer := <-leaves:
		word, text, _ := strings.Cut(answer, " ")
		if word == "leave" {
			return []byte(text), nil
		}
		return nil, errors.New(text)
	case <-ctx.Done():
		daemontest.Say("withdrawn", "")
		return nil, context.Cause(ctx)
	}
}

func (testGate) Release(_ context.Context, r autorestart.GateResult) error {
	text := fmt.Sprintf("%v %q", r.Outcome, r.State)
	if r.Err != nil {
		text += " " + r.Err.Error()
	}
	if r.Running == (autorestart.BuildInfo{}) {
		text += " by an unknown version"
	}
	daemontest.Say("released", text)
	return nil
}
