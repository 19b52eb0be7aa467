package watch

import (
	"sync"
	"time"
)

// A Mode tells how a [Watcher] notices changes.
type Mode struct {
	Events bool          // the kernel sends events
	Poll   time.Duration // the time between two looks; 0 if only after events
	Reason error         // why events alone are not enough; nil if they are
}

// eventsOnly reports whether there is an event for every change.
func (m Mode) eventsOnly() bool { return m.Events && m.Poll == 0 }

func (m Mode) String() string {
	var s string
	switch {
	case m == Mode{}:
		return "not watching"
	case m.Events && m.Poll > 0:
		s = "events and polling every " + m.Poll.String()
	case m.Events:
		s = "events"
	default:
		s = "polling every " + m.Poll.String()
	}
	if reason := m.reason(); reason != "" {
		s += ": " + reason
	}
	return s
}

func (m Mode) reason() string {
	if m.Reason == nil {
		return ""
	}
	return m.Reason.Error()
}

// A modeBox holds the mode for readers in other goroutines.
type modeBox struct {
	mu   sync.Mutex
	mode Mode
}

func (b *modeBox) get() Mode {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mode
}

// set notes the mode, and logs it if events are no longer enough or are enough again.
func (b *modeBox) set(mode Mode, logger Logger, path string) {
	b.mu.Lock()
	old := b.mode
	b.mode = mode
	b.mu.Unlock()
	if old.reason() == mode.reason() {
		return
	}
	args := []any{"path", path, "mode", mode.String()}
	if mode.Reason != nil {
		logger.Warn("watching without relying on events", args...)
	} else {
		logger.Info("watching by events again", args...)
	}
}
