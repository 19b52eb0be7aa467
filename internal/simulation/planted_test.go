package simulation

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A plantedFault is a mistake in one file that a simulation has to find.
type plantedFault struct {
	name     string
	pkg      string // whose TestSimulation finds it
	file     string
	old, new string // old is there once
	within   int    // schedules
}

var plantedFaults = slices.Concat(watchFaults, reapFaults)

// TestPlantedFaults builds each simulation with a fault in it. That takes seconds for each.
func TestPlantedFaults(t *testing.T) {
	if testprocess.FromEnv(t, "AUTORESTART_TEST_PLANTED", 0) == 0 {
		t.Skip("AUTORESTART_TEST_PLANTED is not set")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range plantedFaults {
		t.Run(strings.ReplaceAll(fault.name, " ", "_"), func(t *testing.T) { fault.find(t, root) })
	}
}

func (f *plantedFault) find(t *testing.T, root string) {
	cmd := exec.Command("go", "test", "-count=1", "-overlay", f.plant(t, root), "-run", "^TestSimulation$", "./"+f.pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), schedulesEnv+"="+strconv.Itoa(f.within))
	output, err := cmd.CombinedOutput()
	found := failedSchedule.FindSubmatch(output)
	switch {
	case err == nil:
		t.Errorf("not found in %d schedules", f.within)
	case found == nil:
		t.Errorf("%v\n%s", err, output)
	default:
		t.Logf("found after %s schedules: %s", found[1], found[2])
	}
}

var failedSchedule = regexp.MustCompile(`schedule (\d+): (.*)`)

// plant returns the file for go build's -overlay that puts the fault in.
func (f *plantedFault) plant(t *testing.T, root string) (overlay string) {
	file := filepath.Join(root, f.file)
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), f.old); n != 1 {
		t.Fatalf("%q is in %s %d times", f.old, f.file, n)
	}
	dir := t.TempDir()
	planted := filepath.Join(dir, filepath.Base(file))
	overlay = filepath.Join(dir, "overlay.json")
	files, err := json.Marshal(map[string]any{"Replace": map[string]string{file: planted}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		planted: []byte(strings.Replace(string(source), f.old, f.new, 1)),
		overlay: files,
	} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}
