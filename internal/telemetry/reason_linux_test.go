package telemetry

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

var (
	rejectionRow = regexp.MustCompile(`(?m)^\| (` + "`" + `[^|]*) \| ([^|]*) \| [^|]+ \|$`)
	codeSpan     = regexp.MustCompile("`([^`]+)`")
)

// Each text of a rejection in docs/troubleshooting.md, which has all of the library, has a reason of
// its own.
func TestEachRejectionHasReason(t *testing.T) {
	page := string(testprocess.ReadFile(t, filepath.Join(testprocess.ModuleRoot(t), "docs", "troubleshooting.md")))
	_, page, ok := strings.Cut(page, "\n## Why a version is not executed\n")
	table, parts, more := strings.Cut(page, "\nThe parts of ")
	if !ok || !more {
		t.Fatal("no table of reasons")
	}
	trust := regexp.MustCompile(`(?m)^.*or set TrustAnyOwner.*$`).FindString(parts)
	seen := map[Reason]bool{}
	for _, row := range rejectionRow.FindAllStringSubmatch(table+"\n"+trust, -1) {
		expected := codeSpan.FindStringSubmatch(row[2])[1]
		for _, span := range codeSpan.FindAllStringSubmatch(row[1], -1) {
			err := &autorestart.RejectedError{Found: strings.ReplaceAll(span[1], "…", "1234"), Expected: expected}
			reason := ReasonOf(err)
			seen[reason] = true
			if reason == Other {
				t.Errorf("no reason for %q", err.Found)
			}
		}
	}
	for _, f := range found {
		if !seen[f.reason] {
			t.Errorf("reason %s is in no row", f.reason)
		}
		if !slices.Contains(Reasons(), f.reason) {
			t.Errorf("reason %s is not among Reasons", f.reason)
		}
	}
}
