package testprocess

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

var _ = RegisterHelper("tell the time", func() {
	fmt.Println("begun")
	ReadLine()
	fmt.Println(time.Now())
})

// A file that is open for the moment in which package time reads it would be among those of a
// daemon that a test compares.
func TestTimeZoneIsReadBeforeMain(t *testing.T) {
	zone := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(zone, []byte("no time zone"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), UseHelper(t, "tell the time"), "TZ="+zone)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	opened := WatchOpens(t, zone)
	in.Close()
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if opened() {
		t.Error("it was read when the first time was told")
	}
}
