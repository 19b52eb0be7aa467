//go:build !autorestart_portable

package standin

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// closed-streams closes its standard streams, and tells about those of a stand-in.
var _ = testprocess.RegisterHelper("closed-streams", func() {
	answer := os.NewFile(3, "answer")
	os.Pipe() // it opens the descriptors of the runtime's poller, too
	for fd := range 3 {
		unix.Close(fd)
	}
	out, err := newOutput()
	if err != nil {
		fmt.Fprint(answer, err)
		return
	}
	all, real, done, err := out.streams()
	if err != nil {
		fmt.Fprint(answer, err)
		return
	}
	defer done()
	for i, fd := range real {
		if _, _, err := sys.Flags(fd); err != nil || fd < 3 || i > 0 && fd == real[i-1] {
			fmt.Fprintln(answer, "standard output and error of the stand-in when it serves:", real, err)
			return
		}
	}
	for _, fd := range all {
		if _, _, err := sys.Flags(fd); err != nil {
			fmt.Fprintln(answer, "standard streams of the stand-in when it starts:", all, err)
			return
		}
	}
	fmt.Fprint(answer, "ok")
})

// A daemon may have closed its standard streams. No standard stream crosses an exec by its number,
// and each descriptor that crosses has one owner.
func TestClosedStreams(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "closed-streams"))
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	b := make([]byte, 1000)
	n, _ := r.Read(b)
	if err := cmd.Wait(); err != nil || string(b[:n]) != "ok" {
		t.Errorf("%s %v", b[:n], err)
	}
}
