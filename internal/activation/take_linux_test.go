//go:build !autorestart_portable

package activation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

var _ = testprocess.RegisterHelper("take", takeMain)

// takeMain takes the files whose names begin with "own", and prints what it has taken, what is left at each
// number, and how many descriptors more are open than before. Its arguments are the names; what follows a name
// after a slash is done to the file before.
func takeMain() {
	names := os.Args[1:]
	for i, name := range names {
		number := FirstDescriptor + i
		names[i], name, _ = strings.Cut(name, "/")
		switch name {
		case "cloexec":
			unix.CloseOnExec(number)
		case "closed":
			unix.Close(number)
		case "placeholder":
			p, err := NewPlaceholder()
			if err == nil {
				err = p.DuplicateOver(number)
				p.Close()
			}
			if err != nil {
				fmt.Println(err)
			}
		}
	}
	before := openDescriptors()
	taken, err := Take(names, func(name string) bool { return strings.HasPrefix(name, "own") })
	for _, f := range taken {
		closeOnExec, _, flagsErr := sys.Flags(f.FD.Int())
		if !closeOnExec || flagsErr != nil {
			fmt.Print(f.Name, " is not close-on-exec: ", flagsErr, "; ")
		}
		fmt.Print("took ", content(f.FD.Int()), " as ", f.Name, "; ")
		f.FD.Close()
	}
	for i := range names {
		fmt.Print(content(FirstDescriptor+i), " ")
	}
	fmt.Print("LISTEN_FDS=", os.Getenv("LISTEN_FDS"))
	if err != nil {
		fmt.Print(" ", err)
	}
	if after := openDescriptors(); after > before {
		fmt.Print(" leaked ", after-before)
	}
}

func openDescriptors() (n int) {
	for fd := range 100 {
		if _, _, err := sys.Flags(fd); err == nil {
			n++
		}
	}
	return n
}

// content returns the name of the file that a descriptor has open.
func content(fd int) string {
	if IsPlaceholder(fd) {
		return "placeholder"
	}
	var b [100]byte
	n, err := unix.Pread(fd, b[:], 0)
	if err != nil {
		return "closed"
	}
	return string(b[:n])
}

func TestTake(t *testing.T) {
	for arguments, want := range map[string]string{
		"":              "LISTEN_FDS=0",
		"own1":          "took 0 as own1; closed LISTEN_FDS=",
		"own1 own2":     "took 0 as own1; took 1 as own2; closed closed LISTEN_FDS=",
		"own own":       "took 0 as own; took 1 as own; closed closed LISTEN_FDS=",
		"http":          "0 LISTEN_FDS=1",
		"http own1":     "took 1 as own1; 0 placeholder LISTEN_FDS=2",
		"own1 http":     "took 0 as own1; placeholder 1 LISTEN_FDS=2",
		"own http own2": "took 0 as own; took 2 as own2; placeholder 1 placeholder LISTEN_FDS=3",
		// Close-on-exec files have an owner in this program.
		"own1 http/cloexec": "took 0 as own1; placeholder 1 LISTEN_FDS=2",
		"own1/cloexec":      "0 LISTEN_FDS=1",
		// What an earlier part or version has taken is not left for anyone.
		"http/placeholder own1":      "took 1 as own1; closed closed LISTEN_FDS=",
		"own1/placeholder own2 http": "took 1 as own2; placeholder placeholder 2 LISTEN_FDS=3",
		"http/closed own1":           "took 1 as own1; closed closed LISTEN_FDS=",
		"own1/placeholder":           "placeholder LISTEN_FDS=1",
		"own1/closed":                "closed LISTEN_FDS=1",
	} {
		if got := runTake(t, arguments); got != want {
			t.Errorf("%q: %s; want %s", arguments, got, want)
		}
	}
}

// runTake returns what the helper prints. Each of its files contains its index.
func runTake(t *testing.T, arguments string) string {
	t.Helper()
	names := strings.Fields(arguments)
	c := exec.Command(os.Args[0], names...)
	c.Env = append(os.Environ(), testprocess.UseHelper(t, "take"), fmt.Sprint("LISTEN_FDS=", len(names)), "LISTEN_PID=1")
	for i := range names {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, fmt.Append(nil, i), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c.ExtraFiles = append(c.ExtraFiles, f)
	}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestTakeNothing: where no file is for the caller, no file is made either. It would need a descriptor, and
// memfd_create(2) may not be allowed.
func TestTakeNothing(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	taken, err := Take([]string{"http"}, func(string) bool { return false })
	if len(taken) > 0 || err != nil {
		t.Errorf("took %v, %v", taken, err)
	}
}
