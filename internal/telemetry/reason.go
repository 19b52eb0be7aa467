package telemetry

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/autorestart-go/autorestart"
)

// A Reason says in a word why a version is not executed. There are few, so a metric can have
// one as a label.
type Reason = string

// Reasons.
const (
	NotReady    Reason = "not_ready"   // the file is being written, or its mode is still being set
	Format      Reason = "format"      // not a program for this machine
	Permission  Reason = "permission"  // the file may not be read or executed
	Untrusted   Reason = "untrusted"   // a user who is not trusted can change the file or its path
	Verify      Reason = "verify"      // Verify, or a function of package verify, has rejected the version
	Failed      Reason = "failed"      // the version was executed before, and rolled back
	StandIn     Reason = "stand_in"    // with Overlap: the version has failed as a stand-in
	NoRollback  Reason = "no_rollback" // the version can't be on trial
	Shortage    Reason = "shortage"    // memory, descriptors, processes or space are short
	BadPlan     Reason = "exec_plan"   // BeforeExec has left arguments or variables that execve(2) does not take
	GateRefused Reason = "gate"        // the Gate gives no leave
	Exec        Reason = "exec"        // execve(2) has failed
	Ended       Reason = "ended"       // Run or Restart has ended
	Other       Reason = "other"       // an error of BeforeExec, or a RejectedError of the program's own
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{
		NotReady, Format, Permission, Untrusted, Verify, Failed, StandIn, NoRollback, Shortage, BadPlan, GateRefused, Exec, Ended, Other,
	}
}

// found has what the field Found of a RejectedError begins with and contains. The first line
// that fits counts. docs/troubleshooting.md has the whole texts.
var found = []struct {
	prefix, part string
	reason       Reason
}{
	{"no file that can be read (permission denied", "", Permission},
	{"no file that can be read", "", NotReady},
	{"an empty file", "", NotReady},
	{"an ELF file that is not complete", "", NotReady},
	{"a file whose format does not tell", "", NotReady},
	{"a file open for writing", "", NotReady},
	{"a file that another process is about to write", "", NotReady},
	{"a file that was changed while", "", NotReady},
	{"something that is not a regular file", "", Format},
	{"an ELF ", "", Format},
	{"a script ", "", Format},
	{"a file that starts with ", "", Format},
	{"a program that needs the dynamic loader ", "", Format},
	{"a file of ", " bytes with a signature in ", Verify},
	{"a file of ", " bytes", Format},
	{"a file that may not be executed", "", Permission},
	{"a file without capabilities", "", Permission},
	{"a version that failed before", "", Failed},
	{"a version that Verify has rejected", "", Verify},
	{"a failed run of ", "", Verify},
	{"no signature ", "", Verify},
	{"a signature in ", "", Verify},
	{"a restart that would fail now", "", Shortage},
	{"a stand-in that can't be started now", "", Shortage},
	{"a file that can't be executed now", "", Exec},
	{"an ExecPlan with ", "", BadPlan},
	{"a version that has failed as a stand-in", "", StandIn},
	{"a version whose release of ", "", StandIn},
	{"a version on trial, ", "", StandIn},
	{"a set-user-ID or set-group-ID program, ", "", NoRollback},
	{"a program without ", "", NoRollback},
	{"a running image that can't be rolled back to", "", NoRollback},
	{"a version that the Gate ", "", GateRefused},
}

// ReasonOf returns the reason of the error of an [autorestart.EventRejected].
func ReasonOf(err error) Reason {
	if rejected, ok := errors.AsType[*autorestart.RejectedError](err); ok {
		if strings.Contains(rejected.Expected, ", or set TrustAnyOwner") {
			return Untrusted
		}
		for _, f := range found {
			if strings.HasPrefix(rejected.Found, f.prefix) && strings.Contains(rejected.Found, f.part) {
				return f.reason
			}
		}
		return Other
	}
	if path, ok := errors.AsType[*os.PathError](err); ok && path.Op == "execve" {
		return Exec
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Ended
	}
	return Other
}
