//go:build unix

package standin

import (
	"context"
	"testing"
	"time"
)

// A new stand-in does not wait for one that drains for an hour if there is room without that.
func TestRoomWhenAnyStandInEnds(t *testing.T) {
	bubble(t, func(t *testing.T, s *Set) {
		begin(t, s)
		_, second := begin(t, s)
		time.AfterFunc(time.Second, func() { second.exit("exited", false) })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := s.AwaitRoom(ctx, 2); err != nil {
			t.Errorf("no room after a minute: %v", err)
		}
	})
}
