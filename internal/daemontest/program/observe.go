//go:build linux

package program

import (
	"fmt"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
)

// ObserveEnv is what the daemon does with events: say, say how it watches (modes), block or panic.
const ObserveEnv = "AUTORESTART_TEST_OBSERVE"

func observer() func(autorestart.Event) {
	switch os.Getenv(ObserveEnv) {
	case "say":
		return func(e autorestart.Event) { daemontest.Say("event", eventText(e)) }
	case "modes":
		return func(e autorestart.Event) {
			if e.Kind == autorestart.EventModeChanged {
				daemontest.Say("mode", e.Mode.String())
			}
		}
	case "block":
		return func(autorestart.Event) { select {} }
	case "panic":
		return func(autorestart.Event) { panic("an observer") }
	}
	return nil
}

// eventText returns the kind of an event and what is known in it.
func eventText(e autorestart.Event) string {
	text := fmt.Sprint(e.Kind, " generation=", e.Generation)
	if e.Old.ID != "" {
		text += " old"
	}
	if e.New.ID != "" {
		text += " new"
	}
	times := 0
	for _, at := range []time.Time{e.Times.Seen, e.Times.Judged, e.Times.Quiesced, e.Times.Drained, e.Times.Executed, e.Times.Started, e.Times.Ready} {
		if !at.IsZero() {
			times++
		}
	}
	if times > 0 {
		text += fmt.Sprint(" times=", times)
	}
	if e.Err != nil {
		text += fmt.Sprintf(" err=%q", e.Err)
	}
	if e.OnTrial {
		text += " on-trial"
	}
	return text + fmt.Sprint(" lost=", e.Lost)
}
