//go:build !unix

package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// A starter is a means that no system but Unix has.
type starter struct{}

var starters []starter

func runWith([]starter, time.Duration, []string) Func {
	return func(context.Context, *os.File) error {
		return fmt.Errorf("verify: Run needs Unix: %w", errors.ErrUnsupported)
	}
}
