//go:build !linux || autorestart_portable

package sdnotify

import (
	"context"
	"errors"
	"time"
)

// A Socket can't be opened on this system: systemd runs on Linux only.
type Socket struct{}

// Open fails.
func Open(string) (*Socket, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Socket) Close() error { return nil }

// Send fails.
func (*Socket) Send(string, ...int) error { return errors.ErrUnsupported }

// Barrier fails.
func (*Socket) Barrier(context.Context) error { return errors.ErrUnsupported }

// Monotonic returns 0.
func Monotonic() time.Duration { return 0 }
