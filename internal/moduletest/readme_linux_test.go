//go:build !autorestart_portable

package moduletest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The first program in README.md keeps the promise above it, as it is printed but for the
// port: no request is lost, a version that fails is rolled back, and the child of the
// version before is cleaned up. Clients see one PID. The test takes some seconds, to link three
// versions.
func TestProgramInReadme(t *testing.T) {
	needTools(t)
	page, err := os.ReadFile(repository + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := pageBlocks("README.md", string(page))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no program in README.md: %v", err)
	}
	printed, address := blocks[0].text, freeAddress(t)
	version := func(replacements ...string) string {
		program := printed
		for i, text := range append(replacements, "localhost:8080", address) {
			if i%2 == 0 && strings.Count(program, text) != 1 {
				t.Fatalf("%q is not once in the program", text)
			}
		}
		return buildBlock(t, strings.NewReplacer(append(replacements, "localhost:8080", address)...).Replace(printed))
	}
	first := version("served by", "served first by", "\"os\"\n", "\"os\"\n\t\"os/exec\"\n",
		"\tautorestart.Ready()", "\texec.Command(\"true\").Start()\n\tautorestart.Ready()")
	second := version()
	broken := version("\tautorestart.Ready() // this version works\n", "\tif len(os.Args) > 0 {\n\t\tpanic(\"broken\")\n\t}\n")

	output := new(safeBuffer)
	daemon := exec.Command(first)
	daemon.Stdout, daemon.Stderr = output, output
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		daemon.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		daemon.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("the daemon has written:\n%s", output)
		}
	})
	url := "http://" + address
	testprocess.WaitFor(t, "the first answer", func() bool {
		_, err := get(http.DefaultClient, url)
		return err == nil
	})

	stop, clients := make(chan struct{}), new(sync.WaitGroup)
	for _, disableKeepAlives := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: disableKeepAlives}}
		defer client.CloseIdleConnections()
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				answer, err := get(client, url)
				if want := fmt.Sprintf(" by process %d\n", daemon.Process.Pid); err != nil || !strings.HasSuffix(answer, want) {
					t.Errorf("got %q, %v; want one that ends in %q", answer, err, want)
					return
				}
			}
		})
	}
	answers := func(prefix string) func() bool {
		return func() bool {
			answer, _ := get(http.DefaultClient, url)
			return strings.HasPrefix(answer, prefix)
		}
	}
	children := filepath.Join("/proc", fmt.Sprint(daemon.Process.Pid), "task", "*", "children")
	testprocess.WaitFor(t, "a child of the first version", func() bool { return len(readAll(t, children)) > 0 })
	deploy(t, second, first)
	testprocess.WaitFor(t, "an answer of the second version", answers("served by"))
	testprocess.WaitFor(t, "the end of the child", func() bool { return len(readAll(t, children)) == 0 })
	deploy(t, broken, first)
	testprocess.WaitFor(t, "the panic", func() bool { return strings.Contains(output.String(), "panic: broken") })
	testprocess.WaitFor(t, "an answer after the rollback", answers("served by"))
	close(stop)
	clients.Wait()
}

// buildBlock builds a program that uses the library, and returns its path.
func buildBlock(t *testing.T, program string) string {
	t.Helper()
	library := testprocess.ModuleRoot(t)
	return testprocess.BuildModule(t, map[string]string{
		"go.mod":  blockModule(library),
		"go.sum":  string(testprocess.ReadFile(t, filepath.Join(library, "go.sum"))),
		"main.go": program,
	}, "-ldflags=-s -w")
}

func deploy(t *testing.T, program, path string) {
	t.Helper()
	if err := os.Rename(program, path); err != nil {
		t.Fatal(err)
	}
}

// readAll returns the content of all files that match, of which some may vanish.
func readAll(t *testing.T, pattern string) (content []byte) {
	t.Helper()
	for _, name := range testprocess.Glob(t, pattern) {
		b, _ := os.ReadFile(name)
		content = append(content, b...)
	}
	return content
}

func get(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// freeAddress returns an address that no listener has.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.77.0.1:0") // whose ports no other test gets, however long the builds take
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A safeBuffer may be read while a process writes into it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
