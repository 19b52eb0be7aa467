//go:build linux && !autorestart_portable

package overlap

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A server is a daemon with Overlap, and its clients.
type server struct {
	t      *testing.T
	dir    string
	path   string
	cmd    *exec.Cmd
	log    string // a file: a stand-in outlives the process that starts it
	client *http.Client
	seen   map[int]bool // PIDs that have answered
	last   identity     // that was awaited

	wrapper []string // a command that starts the server; nil if the test does
	inner   int      // the PID of the server as it knows it, unless it is that of cmd
}

// newServer prepares a server. A stand-in and a new main process wait for allow if hold is set.
func newServer(t *testing.T, hold bool, env ...string) *server {
	t.Helper()
	return newServerBy(t, nil, 0, hold, env...)
}

// newServerBy is newServer with a command that starts the server, with the given PID in its own
// namespace.
func newServerBy(t *testing.T, wrapper []string, inner int, hold bool, env ...string) *server {
	t.Helper()
	dir := testprocess.MemoryDir(t)
	s := &server{t: t, dir: dir, path: filepath.Join(dir, "app"), log: filepath.Join(dir, "log"), seen: map[int]bool{}, wrapper: wrapper, inner: inner}
	s.client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "socket"))
		},
	}}
	s.write(1)
	env = append(os.Environ(), append(env, testprocess.UseHelper(t, "server"), dirEnv+"="+dir)...)
	if hold {
		env = append(env, holdEnv+"=1")
	}
	s.start(env)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.logged())
		}
	})
	return s
}

// start starts the server, again if it has ended.
func (s *server) start(env []string) {
	s.t.Helper()
	if env == nil {
		env = s.cmd.Env
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	args := append(slices.Clip(s.wrapper), s.path)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = cmd
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		s.wantNoProcess()
	})
}

func (s *server) logged() string {
	b, _ := os.ReadFile(s.log)
	return string(b)
}

func (s *server) wantLogged(text string) {
	s.t.Helper()
	daemontest.WaitFor(s.t, "log line with "+strconv.Quote(text), func() bool { return strings.Contains(s.logged(), text) })
}

// pid returns the PID that the main process has in its own namespace.
func (s *server) pid() int {
	if s.inner != 0 {
		return s.inner
	}
	return s.cmd.Process.Pid
}

// process returns the PID that the main process has here.
func (s *server) process() int {
	if s.inner == 0 {
		return s.cmd.Process.Pid
	}
	children := childrenOf(s.cmd.Process.Pid)
	if len(children) == 0 {
		s.t.Fatal("the server has ended")
	}
	return children[0]
}

func (s *server) write(version int) {
	s.t.Helper()
	s.writeImage(daemontest.Image(s.t, version))
}

func (s *server) writeImage(content []byte) {
	s.t.Helper()
	testprocess.WriteExecutable(s.t, s.path+".new", content)
	if err := os.Rename(s.path+".new", s.path); err != nil {
		s.t.Fatal(err)
	}
}

// allow lets what waits for it go on, see await.
func (s *server) allow(name ...string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, fmt.Sprint(name)), nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// get sends a request.
func (s *server) get(path string) (i identity, err error) {
	ctx, cancel := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://server"+path, nil)
	if err != nil {
		return i, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return i, err
	}
	defer resp.Body.Close()
	return i, json.NewDecoder(resp.Body).Decode(&i)
}

// mustGet sends a request that must not fail.
func (s *server) mustGet(path string) identity {
	s.t.Helper()
	i, err := s.get(path)
	if err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
	s.seen[i.PID] = true
	return i
}

// hold sends a request that is answered after allow, and returns when the server has got it.
func (s *server) hold(name string) (answer <-chan identity) {
	s.t.Helper()
	c := make(chan identity, 1)
	go func() {
		i, _ := s.get("/hold/" + name)
		c <- i
	}()
	daemontest.WaitFor(s.t, "request "+name, func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "held "+name))
		return err == nil
	})
	return c
}

// await waits until a version answers, in the main process or as a stand-in. No request must fail.
func (s *server) await(version int, standIn bool) (i identity) {
	s.t.Helper()
	daemontest.WaitFor(s.t, fmt.Sprintf("answer of version %d, stand-in: %v", version, standIn), func() bool {
		i = s.mustGet("/")
		return i.Version == version && i.StandIn == standIn
	})
	if (i.PID == s.pid()) == standIn {
		s.t.Fatalf("version %d, stand-in: %v, is process %d; the main process is %d", version, standIn, i.PID, s.pid())
	}
	s.awaitQuiet(i)
	s.last = i
	return i
}

// awaitQuiet waits until the process that has served before i accepts nothing more. For a moment
// both do.
func (s *server) awaitQuiet(i identity) {
	s.t.Helper()
	before := s.last
	if before.Version == i.Version && before.StandIn == i.StandIn {
		return
	}
	daemontest.WaitFor(s.t, fmt.Sprintf("drain of %+v", before), func() bool {
		_, err := os.Stat(drainFile(s.dir, before))
		return err == nil || before.StandIn && isGone(before.PID, s.path)
	})
}

// awaitServing is await for a server that is not running at first.
func (s *server) awaitServing(version int) {
	s.t.Helper()
	daemontest.WaitFor(s.t, "answer after the start", func() bool {
		i, err := s.get("/")
		s.last = i
		return err == nil && i.Version == version && !i.StandIn
	})
}

// awaitServingOrRejected waits until a version serves in the main process, alone. A stand-in that
// has stood still is rejected; then it is deployed again.
func (s *server) awaitServingOrRejected(version int) {
	s.t.Helper()
	rejections := strings.Count(s.logged(), "new version rejected")
	daemontest.WaitFor(s.t, fmt.Sprintf("version %d in the main process", version), func() bool {
		if now := strings.Count(s.logged(), "new version rejected"); now > rejections {
			rejections = now
			s.write(version)
		}
		i, err := s.get("/")
		s.last = i
		return err == nil && i.Version == version && !i.StandIn
	})
	s.wantAlone()
}

// children returns the PIDs of the main process's children.
func (s *server) children() (pids []int) {
	s.t.Helper()
	pids = childrenOf(s.process())
	for _, pid := range pids {
		s.seen[pid] = true
	}
	return pids
}

func childrenOf(pid int) (pids []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		b, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// standIn waits until the main process has a child that has executed the new version, and returns its
// PID. Before that, the main process waits for the exec, however long it takes.
func (s *server) standIn() (pid int) {
	s.t.Helper()
	daemontest.WaitFor(s.t, "stand-in", func() bool {
		pids := s.children()
		if len(pids) == 0 {
			return false
		}
		pid = pids[len(pids)-1]
		own, err := os.Stat(fmt.Sprintf("/proc/%d/exe", s.pid()))
		other, otherErr := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
		return err == nil && otherErr == nil && !os.SameFile(own, other)
	})
	return pid
}

// wantAlone waits until the main process has no child left.
func (s *server) wantAlone() {
	s.t.Helper()
	daemontest.WaitFor(s.t, "end of the stand-in", func() bool { return len(s.children()) == 0 })
}

// wantNoProcess waits until no process is left that has been a stand-in.
func (s *server) wantNoProcess() {
	s.t.Helper()
	for pid := range s.seen {
		if !testprocess.Within(testprocess.Timeout, func() bool { return isGone(pid, s.path) }) {
			s.t.Errorf("process %d is left", pid)
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// isGone reports whether a process has ended, or is another one than that of the path.
func isGone(pid int, path string) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.HasPrefix(rest, "Z") || !strings.HasPrefix(string(cmdline), path+"\x00")
}

// load sends requests until stop is called, which reports those that have failed.
func (s *server) load() (stop func()) {
	const clients = 4
	var wg sync.WaitGroup
	done := make(chan struct{})
	var mu sync.Mutex
	failed, total := map[string]int{}, 0
	for range clients {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				_, err := s.get("/")
				mu.Lock()
				total++
				if err != nil {
					failed[err.Error()]++
				}
				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() {
		s.t.Helper()
		close(done)
		wg.Wait()
		if len(failed) > 0 {
			s.t.Errorf("of %d requests, failed: %v", total, failed)
		}
	}
}
