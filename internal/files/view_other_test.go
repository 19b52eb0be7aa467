//go:build unix && (!linux || autorestart_portable)

package files

import (
	"os"
	"testing"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
)

// own returns the view of this process.
func own(t testing.TB) *View {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := new(View)
	c, r := candidate.Open(v, path)
	if r != nil {
		t.Fatal(r)
	}
	defer c.Close()
	v.LaunchID = c.ID
	if v.Kind, err = elfimage.ReadKind(c.File, c.ID.Size); err != nil {
		t.Fatal(err)
	}
	return v
}
