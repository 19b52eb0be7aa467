//go:build linux

package etcdgate

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// The commands in docs/fleet.md do what is written above them, as they are printed but for the files and the
// addresses.
func TestCommandsInPage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds programs")
	}
	for _, tool := range []string{"etcd", "go", "bash"} {
		testprocess.NeedTool(t, tool)
	}
	root := testprocess.ModuleRoot(t)
	page := string(testprocess.ReadFile(t, filepath.Join(root, "docs", "fleet.md")))
	_, section, _ := strings.Cut(page, "\n### Try it on one machine\n")
	blocks := shellBlock.FindAllStringSubmatch(section, -1)
	if len(blocks) != 3 {
		t.Fatalf("%d blocks of commands", len(blocks))
	}
	s := newShell(t, root)
	status := func(text string) func() bool {
		return func() bool { return strings.Contains(s.run("/tmp/autorestart-fleet status web"), text) }
	}
	serves := func(version string) func() bool { return func() bool { return s.serve(version) } }
	s.run(blocks[0][1])
	testprocess.WaitFor(t, "first version", serves("v1"))

	s.run(blocks[1][1])
	testprocess.WaitFor(t, "canary", status("0 of 1 canaries are healthy"))
	waitLong(t, "second version", serves("v2"))

	s.run(blocks[2][1][:strings.Index(blocks[2][1], "build v4")])
	testprocess.WaitFor(t, "failure", status(": v3 does not work"))
	s.run("build v4 && deploy")
	waitLong(t, "fixed version", serves("v4"))
	if out := s.run("cat /tmp/web?.log"); strings.Count(out, "the version was rolled back here") != 1 {
		t.Errorf("not one member has executed the bad version:\n%s", out)
	}
}

// A shell runs the commands of a page.
type shell struct {
	*testing.T
	host  string // of all addresses
	adapt *strings.Replacer
	stdin io.Writer
	lines *bufio.Reader
}

func newShell(t *testing.T, root string) *shell {
	host, dir := etcdtest.Loopback()+".1", testprocess.MemoryDir(t)
	endpoint := "http://" + host + ":2379"
	s := &shell{T: t, host: host, adapt: strings.NewReplacer(
		"/tmp/autorestart-fleet status", dir+"/autorestart-fleet -endpoints "+endpoint+" status",
		"/tmp/", dir+"/",
		"etcd --data-dir", "etcd --listen-client-urls "+endpoint+" --advertise-client-urls "+endpoint+" --listen-peer-urls http://"+host+":2380 --data-dir",
		"-listen 127.0.0.1", "-endpoints "+endpoint+" -listen "+host,
		"127.0.0.1", host,
	)}
	cmd := exec.Command("bash")
	cmd.Dir = root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // of all that it starts
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var written testprocess.Log
	cmd.Stderr = &written
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if t.Failed() {
			t.Logf("the commands have written:\n%s", written.String())
		}
	})
	s.stdin, s.lines = stdin, bufio.NewReader(stdout)
	return s
}

// run runs commands, and returns what they have written.
func (s *shell) run(commands string) (output string) {
	s.Helper()
	const end = "the end of the commands\n"
	if _, err := io.WriteString(s.stdin, s.adapt.Replace(commands)+"\necho "+end); err != nil {
		s.Fatal(err)
	}
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			s.Fatal(err)
		}
		if line == end {
			return output
		}
		output += line
	}
}

// serve reports whether all members serve a version.
func (s *shell) serve(version string) bool {
	for i := range 5 {
		r, err := http.Get(fmt.Sprintf("http://%s:808%d", s.host, 1+i))
		if err != nil {
			return false
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(b) != version+"\n" {
			return false
		}
	}
	return true
}
