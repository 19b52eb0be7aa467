//go:build !linux || autorestart_portable

package rollout

import (
	"errors"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

func statIn(int, string) (id candidate.ID, err error) { return id, errors.ErrUnsupported }
