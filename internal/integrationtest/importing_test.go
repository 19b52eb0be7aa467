//go:build linux

package integrationtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// Importing the packages changes nothing in a program that was started afresh: no variable, no
// descriptor, no signal, no limit, and it starts no goroutine.
func TestImportingChangesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it links a program with net/http")
	}
	state := func(flags ...string) string {
		file := filepath.Join(testprocess.MemoryDir(t), "importing")
		testprocess.Build(t, file, "internal/integrationtest/testdata/importing", flags...)
		c := exec.Command(file)
		c.Dir = "/"
		c.Env = []string{"HOME=/", "LISTEN_PID=1", "LISTEN_FDS=1", "AUTORESTART_OTHER=x"}
		c.Stderr = os.Stderr
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	with, without := state("-tags=importing_library"), state()
	if with != without {
		t.Errorf("with the library:\n%s\nwithout it:\n%s", with, without)
	}
	if !strings.Contains(with, "goroutines 1 ") || !strings.Contains(with, "descriptor 0 ") {
		t.Errorf("the state is not complete:\n%s", with)
	}
}
