package autorestart

import (
	"os"
	"time"

	"github.com/autorestart-go/autorestart/internal/passing"
)

// The daemon of TestUnclaimedIsClosedWithoutReady has its own timeout. Package-level
// variables come before the init function that starts the timer.
var _ = func() error {
	timeout, err := time.ParseDuration(os.Getenv("AUTORESTART_TEST_UNCLAIMED"))
	if err == nil {
		passing.UnclaimedTimeout = timeout
	}
	return err
}()
