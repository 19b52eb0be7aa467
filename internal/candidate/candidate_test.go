package candidate_test

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/candidate/candidatetest"
)

const app = "/srv/app"

// open opens the file at [app].
func open(t *testing.T, sys candidate.System) *candidate.Candidate {
	t.Helper()
	c, r := candidate.Open(sys, app)
	if r != nil {
		t.Fatal(r)
	}
	t.Cleanup(c.Close)
	return c
}

func TestOpen(t *testing.T) {
	sys := &candidatetest.System{Faults: map[string]error{"/locked": syscall.EACCES, "/full": syscall.EMFILE}}
	for _, path := range []string{app, "/dir", "/locked", "/full"} {
		sys.Deploy(path, []byte("content"), 0o755)
	}
	sys.Change("/dir", func(id *candidate.ID, _ []byte) []byte {
		id.Regular = false
		return nil
	})
	c := open(t, sys)
	if c.ID.Size != 7 || !c.ID.Regular || c.Path != app {
		t.Errorf("%+v", c)
	}
	for _, test := range []struct {
		path, found string
		retryable   bool
		is          error
	}{
		{"/dir", "something that is not a regular file", false, nil},
		{"/missing", "no file that can be read (no such file or directory)", true, fs.ErrNotExist},
		{"/locked", "no file that can be read (permission denied)", true, fs.ErrPermission},
		{"/full", "no file that can be read (too many open files)", true, syscall.EMFILE},
	} {
		_, r := candidate.Open(sys, test.path)
		if r == nil || r.Path != test.path || r.Found != test.found || r.Retryable != test.retryable || !errors.Is(r.Err, test.is) {
			t.Errorf("%s: got %+v, want %+v", test.path, r, test)
		}
	}
	if n := sys.OpenFiles(); n != 1 {
		t.Errorf("%d files are open", n)
	}
}

func TestUnreadable(t *testing.T) {
	fault := &fs.PathError{Op: "read", Path: app, Err: errors.New("input/output error")}
	r := candidate.Unreadable(app, fault)
	if want := "/srv/app: found no file that can be read (input/output error), expected a file that this process can read"; r.String() != want {
		t.Errorf("got %q, want %q", r, want)
	}
	if !r.Retryable || r.Err != fault {
		t.Errorf("got %#v", r)
	}
}

func TestCause(t *testing.T) {
	plain := errors.New("plain")
	for _, test := range []struct{ err, want error }{
		{plain, plain},
		{&fs.PathError{Op: "open", Path: "/x", Err: plain}, plain},
	} {
		if got := candidate.Cause(test.err); got != test.want {
			t.Errorf("%v: got %v", test.err, got)
		}
	}
}
