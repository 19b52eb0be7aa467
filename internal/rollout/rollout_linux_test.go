package rollout

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A target is one whose new file was replaced by the owner of its directory.
type target struct{ path string }

func (t *target) Target() string    { return t.path }
func (t *target) New() string       { return t.path }
func (t *target) Old() candidate.ID { return candidate.ID{} }
func (t *target) Mark() string      { return "" }
func (t *target) Current() bool     { return true }

// An open of a FIFO would wait for a writer for ever.
func TestNewFileIsFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	begun := make(chan error, 1)
	go func() {
		r, err := Begin(&target{path})
		if err == nil {
			r.Close()
		}
		begun <- err
	}()
	if err, _ := testprocess.Receive(t, "end of Begin", begun); !errors.Is(err, sys.ErrNotRegular) {
		t.Error(err)
	}
}
