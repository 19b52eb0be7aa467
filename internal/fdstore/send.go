package fdstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/autorestart-go/autorestart/internal/crashlog"
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
	if s.removeFiles() && s.storeFiles() && s.retry != nil {
		s.retry.Stop()
		s.retry = nil
	}
}

// removeFiles reports whether all messages were sent.
func (s *Store) removeFiles() bool {
	for len(s.removed) > 0 {
		name := s.removed[0]
		if !s.send(removeMessage(name)) {
			return false
		}
		s.removed = s.removed[1:]
		s.write(crashlog.Change{Name: unnamedPrefix + name})
	}
	return true
}

// storeFiles reports whether all messages were sent, but for those that systemd has no room for.
func (s *Store) storeFiles() bool {
	sent := s.others
	for _, own := range s.order {
		if own.sent {
			sent++
		}
	}
	for _, own := range slices.Clone(s.order) {
		if own.sent {
			continue
		}
		if sent >= s.limit {
			s.logFull()
			return true
		}
		if !s.store(own) {
			return false
		}
		if s.gone {
			return s.removeFiles()
		}
		sent++
	}
	s.logged.full = false
	return true
}

// store has systemd store a file, and names it in the log then. It reports whether the message was
// sent.
func (s *Store) store(own *stored) (sent bool) {
	if own.name == "" {
		own.name = s.freeName()
		s.files[own.name] = own
	}
	changes := own.records()
	if len(changes) > 0 && !own.announced {
		own.announced = true
		s.write(unnamedRecord(own.name))
	}
	if s.gone {
		return true
	}
	if !s.send(storeMessage(own.name), own.descriptor()) {
		return false
	}
	own.sent = true
	if len(changes) > 0 {
		s.write(append(changes, crashlog.Change{Name: unnamedPrefix + own.name})...)
	}
	return true
}

// records returns what names the file in the log; nothing if it is one of the log.
func (own *stored) records() (changes []crashlog.Change) {
	for name := range own.names {
		if name != ofLog {
			changes = append(changes, fileRecord(name, own))
		}
	}
	return changes
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
			"limit", s.limit, "needed", len(s.order)+s.others)
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
	for {
		waits := s.sendNow()
		// When the barrier is passed, there is room again.
		if err := s.sender.Barrier(ctx); err != nil || !waits {
			return err
		}
	}
}

// sendNow reports whether a message waits until systemd has room for it.
func (s *Store) sendNow() (waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropAll()
	s.sync()
	return s.retry != nil
}
