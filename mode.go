package autorestart

import (
	"sync"
	"time"
)

// WatchMode tells how a [Watcher] notices changes.
type WatchMode struct {
	Events bool          // the kernel tells of them, see inotify(7)
	Poll   time.Duration // how often the path is looked at; 0 if only after events
	Reason error         // why events alone don't do; nil if they do
}

func (m WatchMode) String() string {
	var s string
	switch {
	case m == WatchMode{}:
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

func (m *WatchMode) reason() string {
	if m.Reason == nil {
		return ""
	}
	return m.Reason.Error()
}

// modeBox holds the mode for readers in other goroutines.
type modeBox struct {
	_    notComparable
	mu   sync.Mutex
	mode WatchMode
}

func (b *modeBox) get() WatchMode {
	b.mu.Lock()
	mode := b.mode
	b.mu.Unlock()
	return mode
}

// set notes the mode, and logs it if events have ceased to do or do again.
func (b *modeBox) set(mode WatchMode, logger Logger, path string) {
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
