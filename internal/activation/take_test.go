package activation

import (
	"os"
	"testing"
)

// TestGoldenPlaceholder: other versions of this library know a placeholder by its
// content. A golden file is never changed.
func TestGoldenPlaceholder(t *testing.T) {
	if b, err := os.ReadFile("testdata/placeholder-1.golden"); err != nil || string(b) != placeholderText {
		t.Errorf("%q, %v; this version writes %q", b, err, placeholderText)
	}
}
