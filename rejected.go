package autorestart

import (
	"errors"
	"strings"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
)

// RejectedError tells why a file that appeared at the path is not executed. The image
// that runs goes on running.
type RejectedError struct {
	Path     string
	Found    string // what the file is
	Expected string // what it would have to be

	// Retryable: the file may become acceptable as it is, because it is still being
	// written or its mode still being set. It is looked at again soon; otherwise it is
	// left alone until it changes, or for 15 seconds if the reason is a directory, a
	// symbolic link or the mount.
	Retryable bool

	Err error // the underlying error; nil if there is none
}

func (e *RejectedError) Error() string {
	path := ""
	if e.Path != "" {
		path = e.Path + ": "
	}
	return "autorestart: " + path + "found " + e.Found + ", expected " + e.Expected
}

func (e *RejectedError) Unwrap() error { return e.Err }

// asError returns a rejection as a [*RejectedError], and nil as nil.
func asError(r *candidate.Rejection) error {
	if r == nil {
		return nil
	}
	return &RejectedError{Path: r.Path, Found: r.Found, Expected: r.Expected, Retryable: r.Retryable, Err: r.Err}
}

// verifyError returns an error of Verify as a [*RejectedError], and nil as nil.
func verifyError(path string, err error) error {
	if err == nil {
		return nil
	}
	if rejected, ok := errors.AsType[*RejectedError](err); ok {
		at := *rejected // the error may be the caller's
		at.Path = path
		return &at
	}
	return &RejectedError{
		Path:     path,
		Found:    "a file that Verify rejects (" + err.Error() + ")",
		Expected: "one that it accepts",
		Err:      err,
	}
}

// isRetryable reports whether err says that a file may be accepted soon as it is.
func isRetryable(err error) bool {
	rejected, ok := errors.AsType[*RejectedError](err)
	return ok && rejected.Retryable
}

// rejectionLogger passes log lines of package watch on, with the errors of this
// package in them.
type rejectionLogger struct{ Logger }

func (l rejectionLogger) Warn(msg string, args ...any) {
	for i, arg := range args {
		if r, ok := arg.(*candidate.Rejection); ok {
			args[i] = asError(r)
		}
	}
	l.Logger.Warn(msg, args...)
}

// modulePath is that of this library.
const modulePath = elfimage.Library

// BuildInfo tells how a Go program was built, as far as the file says: all of it is
// empty for other programs, and for files without ELF sections. Of Go programs built
// before Go 1.18 only the ID is found.
type BuildInfo struct {
	ID      string // the Go build ID, which differs between any two builds
	Module  string // the path of the main module
	Version string // its version; "(devel)" if the go command didn't know it
}

func buildInfo(b elfimage.Build) BuildInfo {
	return BuildInfo{ID: b.ID, Module: b.Module, Version: b.Version}
}

// String returns the version, or the last part of the ID where the version doesn't
// tell one build from another, or "unknown".
func (b BuildInfo) String() string {
	switch {
	case b.Version != "" && b.Version != "(devel)":
		return b.Version
	case b.ID != "":
		return b.ID[strings.LastIndexByte(b.ID, '/')+1:]
	default:
		return "unknown"
	}
}
