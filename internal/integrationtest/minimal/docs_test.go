//go:build linux && !autorestart_portable

package minimal_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The documentation says of each system what the tests show.
func TestDocumentedSystems(t *testing.T) {
	page := testprocess.ReadFile(t, "../../../docs/minimal-systems.md")
	for _, s := range systems {
		if row := s.row(); !bytes.Contains(page, []byte(row)) {
			t.Errorf("docs/minimal-systems.md lacks %s", row)
		}
	}
}

// row is that of the table.
func (s *system) row() string {
	choose := func(off bool, with, without string) string {
		if off {
			return without
		}
		return with
	}
	warns := func(line string) bool { return slices.Contains(s.lines, line) }
	return "| " + strings.Join([]string{
		s.name,
		choose(warns(polling), "by events", "by polling"),
		choose(s.noRollback, "yes", "no"),
		choose(s.noState, "any size", "up to 128 kB"),
		choose(warns(unchecked), "by descriptor", "by path"),
		choose(warns(noOrphans), "all", "some are left"),
	}, " | ") + " |\n"
}
