//go:build unix

package telemetry

import (
	"os"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// newFile returns a file without a name in a file system.
func newFile(name string) (*os.File, error) {
	fd, err := handover.EmptyFile()
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
