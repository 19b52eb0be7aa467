package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart"
)

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
