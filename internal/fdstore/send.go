package fdstore

import (
	"context"
	"errors"
	"time"

	"github.com/autorestart-go/autorestart/internal/sdnotify"
)

// Pauses before a message is sent again for which the receiver had no room.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
)

// sync sends what systemd does not know yet: first the files that it is to remove, so that there is
// room, then those that it is to store. What can't be sent now is sent later. It is called with s
// locked.
func (s *Store) sync() {
	for len(s.removed) > 0 {
		if !s.send(removeMessage(s.removed[0])) {
			return
		}
		s.removed = s.removed[1:]
	}
	sent := 0
	for _, own := range s.order {
		if own.sent {
			sent++
		}
	}
	for _, own := range s.order {
		if own.sent {
			continue
		}
		if sent >= s.limit {
			s.logFull()
			return
		}
		if !s.send(storeMessage(own.name), own.descriptor()) {
			return
		}
		own.sent = true
		sent++
		for name := range own.fds {
			if name != ofLog {
				s.write(fileRecord(name, own))
			}
		}
	}
	s.logged.full = false
}

func (own *stored) descriptor() int {
	for _, fd := range own.fds {
		return fd
	}
	return -1
}

func (s *Store) logFull() {
	if !s.logged.full {
		s.logged.full = true
		s.logger.Warn("files are not found after a crash: systemd stores no more; raise FileDescriptorStoreMax, or LimitNOFILE",
			"limit", s.limit, "needed", len(s.order))
	}
}

// send sends a message. If systemd has no room for it, that is tried again. Without a receiver it is
// tried again when something else is to be sent.
func (s *Store) send(message string, fds ...int) (sent bool) {
	err := s.sender.Send(message, fds...)
	if err == nil {
		s.pause, s.logged.send = 0, false
		return true
	}
	full := errors.Is(err, sdnotify.ErrFull)
	if (!full || s.pause >= lastRetry) && !s.logged.send {
		s.logged.send = true
		s.logger.Warn("files are not found after a crash: systemd does not receive the messages of this program", "reason", err)
	}
	if full && s.retry == nil {
		s.pause = min(max(firstRetry, 2*s.pause), lastRetry)
		s.retry = time.AfterFunc(s.pause, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.retry = nil
			s.sync()
		})
	}
	return false
}

// Flush implements [passing.Keeper].
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	s.dropAll()
	s.sync()
	s.mu.Unlock()
	return s.sender.Barrier(ctx)
}
