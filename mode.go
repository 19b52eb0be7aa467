package autorestart

import (
	"sync"
	"time"
)

// Mode tells how a [Watcher] notices changes.
type Mode struct {
	Events bool          // the kernel tells of them, see inotify(7)
	Poll   time.Duration // how often the path is looked at; 0 if only after events
	Reason error         // why events alone don't do; nil if they do
}

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
	if m.Reason != nil {
		s += ": " + m.Reason.Error()
	}
	return s
}

// modeBox holds the mode for readers in other goroutines.
type modeBox struct {
	mu   sync.Mutex
	mode Mode
}

func (b *modeBox) get() Mode {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mode
}

// set notes the mode, and logs it if events have ceased to do or do again.
func (b *modeBox) set(mode Mode, logger Logger, path string) {
	b.mu.Lock()
	old := b.mode
	b.mode = mode
	b.mu.Unlock()
	switch {
	case mode.Reason != nil && (old.Reason == nil || old.Reason.Error() != mode.Reason.Error()):
		logger.Warn("watching without relying on events", "path", path, "mode", mode.String())
	case mode.Reason == nil && old.Reason != nil:
		logger.Info("watching by events again", "path", path, "mode", mode.String())
	}
}
