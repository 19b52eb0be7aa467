package origin_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/origin"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const printLimits = "print limits"

var _ = testprocess.RegisterHelper(printLimits, func() {
	var now syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now)
	fmt.Print(origin.OpenFiles.Soft, origin.OpenFiles.Hard, now.Cur, now.Max)
})

func TestMain(m *testing.M) { testprocess.Main(m) }

// TestOpenFilesBeforeTheRuntimeRaisesThem: this package is initialised before package syscall.
func TestOpenFilesBeforeTheRuntimeRaisesThem(t *testing.T) {
	cmd := exec.Command("sh", "-c", `ulimit -Sn 333; ulimit -Hn 444; exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, printLimits))
	out, err := cmd.CombinedOutput()
	if got, want := string(out), "333 444 443 444"; got != want || err != nil {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}
