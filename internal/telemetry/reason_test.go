package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
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
	seen := map[Reason]bool{GateRefused: true} // until the library has one
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
		if !seen[f.reason] && f.reason != Permission {
			t.Errorf("reason %s is in no row", f.reason)
		}
		if !slices.Contains(Reasons(), f.reason) {
			t.Errorf("reason %s is not among Reasons", f.reason)
		}
	}
}

func TestReasonOfOtherErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Reason
	}{
		{&autorestart.RejectedError{Found: "no file that can be read (permission denied)"}, Permission},
		{&autorestart.RejectedError{Found: "a file of 12 bytes with a signature in app.sig"}, Verify},
		{&autorestart.RejectedError{Found: "a file of 12 bytes"}, Format},
		{fmt.Errorf("wrapped: %w", &autorestart.RejectedError{Found: "an empty file"}), NotReady},
		{&autorestart.RejectedError{Found: "a version of the day before"}, Other},
		{&os.PathError{Op: "execve", Path: "/app", Err: syscall.ENOEXEC}, Exec},
		{&os.PathError{Op: "open", Path: "/app", Err: syscall.ENOENT}, Other},
		{context.Canceled, Ended},
		{fmt.Errorf("stopped: %w", context.DeadlineExceeded), Ended},
		{errors.New("an error of BeforeExec"), Other},
		{nil, Other},
	} {
		if got := ReasonOf(tt.err); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.err, got, tt.want)
		}
	}
}
