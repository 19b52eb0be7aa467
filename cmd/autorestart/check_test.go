package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/inspect"
)

// The exit status is that of the worst report, and no report makes a terminal execute anything.
func TestWriteReports(t *testing.T) {
	accepted := inspect.Report{PIDs: []int{1}}
	rejected := inspect.Report{PIDs: []int{2, 3}, Verdict: inspect.Verdict{Rejection: &candidate.Rejection{
		Found: "the loader \x1b[31m", Expected: "another\nline", Retryable: true,
	}}}
	unknown := inspect.Report{PIDs: []int{4}, Err: errors.New("permission denied")}
	const acceptedText = "process 1: accepted: next would be executed, unless Verify of the program rejects it or this version has failed there before\n"
	const rejectedText = "processes 2, 3: rejected: found the loader  [31m, expected another line (retryable: the file is looked at again soon)\n"
	const unknownText = "autorestart check: process 4: permission denied\n"
	for name, test := range map[string]struct {
		reports        []inspect.Report
		exit           int
		stdout, stderr string
	}{
		"accepted":              {[]inspect.Report{accepted}, exitDone, acceptedText, ""},
		"rejected by some":      {[]inspect.Report{accepted, rejected, accepted}, exitFailed, acceptedText + rejectedText + acceptedText, ""},
		"unknown of some":       {[]inspect.Report{accepted, unknown}, exitUnable, acceptedText, unknownText},
		"rejected and unknown":  {[]inspect.Report{rejected, unknown}, exitFailed, rejectedText, unknownText},
		"unknown, and rejected": {[]inspect.Report{unknown, rejected}, exitFailed, rejectedText, unknownText},
	} {
		var stdout, stderr bytes.Buffer
		exit := writeReports(test.reports, "next", "app", output{&stdout, &stderr})
		if exit != test.exit || stdout.String() != test.stdout || stderr.String() != test.stderr {
			t.Errorf("%s: exit %d, %q, %q", name, exit, &stdout, &stderr)
		}
	}
}
