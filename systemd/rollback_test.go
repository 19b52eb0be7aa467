//go:build linux && !autorestart_portable

package systemd_test

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/step"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/systemd"
)

// onTrial starts an image in this process that stores in r, and sets a state.
func (r *receiver) onTrial(h *handover.State) *image.Image {
	r.t.Helper()
	h.Set(handover.PID, os.Getpid())
	i := image.Start(h, nil)
	r.t.Cleanup(func() {
		for _, name := range i.Store.Names() {
			i.Store.Unpass(name)
		}
	})
	i.Use()
	if err := new(systemd.Service).Start(); err != nil {
		r.t.Fatal(err)
	}
	autorestart.SetState("a", []byte("of the trial"))
	return i
}

// stored returns which names r has stored when it has received a message with this field.
func (r *receiver) stored(until string) map[string]bool {
	r.t.Helper()
	names := map[string]bool{}
	for {
		message := r.next()
		action, name, _ := strings.Cut(message, "FDNAME=")
		switch {
		case strings.HasPrefix(action, "FDSTOREREMOVE=1\n"):
			delete(names, name)
		case strings.HasPrefix(action, "FDSTORE=1\n"):
			names[name] = true
		}
		if strings.Contains(message, until) {
			return names
		}
	}
}

// logFiles returns the files of the log that i hands over.
func logFiles(t *testing.T, i *image.Image) (files [2]crashlog.File) {
	t.Helper()
	n := 0
	for _, name := range i.Store.Names() {
		if strings.Contains(string(name), "fdstore-log") {
			f, err := i.Store.Inherited(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			files[n] = crashlog.Descriptor(int(f.Fd()))
			n++
		}
	}
	if n != len(files) {
		t.Fatalf("%d files of the log cross an exec", n)
	}
	return files
}

// The first version with a store leaves nothing there when it is rolled back: the previous version keeps
// nothing in it, and the start after a crash of that version would find the states of the trial.
func TestRollbackToVersionWithoutStore(t *testing.T) {
	r := listen(t, addresses(t)["path"])
	for name, value := range map[string]string{
		"NOTIFY_SOCKET": r.address, "FDSTORE": "4", "INVOCATION_ID": "4943371f57ef4c199155ceb9d485784b",
		"SYSTEMD_EXEC_PID": "", "LISTEN_PID": "", "LISTEN_FDS": "", "WATCHDOG_USEC": "",
	} {
		t.Setenv(name, value)
	}
	t.Cleanup(image.Current().Use)

	i := r.onTrial(new(handover.State))
	log := logFiles(t, i)
	i.Report(step.RollingBack, nil)
	if left := r.stored(executing); len(left) > 0 {
		t.Errorf("systemd still stores %v", left)
	}
	if _, content, err := crashlog.Open(log); err == nil {
		t.Errorf("the log says %q", content)
	}

	// A previous version with a store goes on with the log.
	i = r.onTrial(new(handover.State))
	next := new(handover.State)
	var inherited *handover.State
	if err := i.Store.HandOver(next, func() (err error) {
		inherited, err = passing.Duplicate(next)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	stored := r.stored("FDPOLL=0\nFDNAME=autorestart.143wd7bnhn315.log1") // the set of the invocation ID
	i = r.onTrial(inherited)
	i.Report(step.RollingBack, nil)
	r.want(executing)
	if _, content, err := crashlog.Open(logFiles(t, i)); err != nil || len(stored) != 2 {
		t.Errorf("systemd stores %v, the log says %q, %v", stored, content, err)
	}
}

// When a rollback fails, this version goes on: a reload that it was in the way of ends, and a log line says that the
// store is empty.
func TestRollbackFails(t *testing.T) {
	r := inUnit(t)
	h := new(handover.State)
	h.Set(handover.PID, os.Getpid())
	i := start(t, h)
	var log testprocess.Log
	service := systemd.Service{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("exec format error")
	i.Report(step.Ready, nil)
	r.stored("READY=1")
	i.Report(step.Draining, nil)
	r.stored("RELOADING=1")
	i.Report(step.RollingBack, nil)
	r.stored(executing)
	i.Report(step.Rejected, failed) // of the restart that the rollback was in the way of
	i.Report(step.RollbackFailed, failed)
	r.want(reloading, "READY=1", "STATUS="+name(t)+" serves, generation 0")
	testprocess.WaitFor(t, "log line", func() bool { // the logger works beside
		return strings.Contains(log.String(), "sockets, files and states are not found after a crash: the store was emptied for a rollback, which has failed")
	})
}
