//go:build !autorestart_portable

package sdnotify

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

var _ = testprocess.RegisterHelper("barrier under a filter", func() {
	s, err := Open(os.Getenv("ADDRESS"))
	if err == nil {
		err = forcefallback.KillAll(unix.SYS_PIPE2)
	}
	if err == nil {
		err = s.Barrier(context.Background())
	}
	fmt.Print(err)
})

// A filter that ends the process at the calls for pipes, as systemd's SystemCallFilter=~@ipc does, ends no
// process that waits for systemd.
func TestBarrierUnderFilter(t *testing.T) {
	helper := testprocess.UseHelper(t, "barrier under a filter")
	r := newReceiver(t, path(t))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helper, "ADDRESS="+r.path)
	result := make(chan string, 1)
	go func() {
		output, err := cmd.CombinedOutput()
		result <- fmt.Sprintf("%s, %v", output, err)
	}()
	var text string
	testprocess.WaitFor(t, "barrier, or the end of the process", func() bool {
		var fds []int
		text, fds = r.receive()
		for _, fd := range fds {
			unix.Close(fd)
		}
		return text != "" || len(result) > 0
	})
	if got, _ := testprocess.Receive(t, "end of the process", result); text != "BARRIER=1" || got != "<nil>, <nil>" {
		t.Errorf("%q was received, the process has ended with %q", text, got)
	}
}
