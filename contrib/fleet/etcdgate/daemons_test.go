//go:build linux

package etcdgate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

const (
	endpointsEnv = "AUTORESTART_TEST_ENDPOINTS"
	memberEnv    = "AUTORESTART_TEST_MEMBER"
	daemonsEnv   = "AUTORESTART_TEST_DAEMONS"
)

// badVersion is the version that fails when it starts.
const badVersion = 2

const daemonMax = 3

// memberMain is a daemon that serves HTTP, and is a member of a group.
func memberMain() {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ln := daemontest.Must(sockets.Listen("tcp", "127.0.0.1:0"))
	version := daemontest.Version()
	go httpserve.Serve(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, version)
	})}, ln)
	if version == badVersion {
		panic(autorestart.Rollback(errors.New("this version is bad")))
	}
	autorestart.Ready()
	daemontest.Say("ready", ln.Addr())
	client := daemontest.Must(clientv3.New(clientv3.Config{
		Endpoints: strings.Split(os.Getenv(endpointsEnv), ","), DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second, Logger: zap.NewNop(),
	}))
	r := &autorestart.Restarter{
		ReadyTimeout: time.Minute,
		Logger:       logger,
		Gate:         &Gate{Client: client, Group: "daemons", Member: os.Getenv(memberEnv), Max: daemonMax, Logger: logger, timeout: 2 * time.Second},
	}
	panic(r.Run(context.Background()))
}

// TestDaemons deploys a bad version to daemons that really restart, while a node of three is killed. No more
// than Max of them execute it. The fixed version then reaches all, without an operator. No client loses a
// request.
func TestDaemons(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many daemons")
	}
	c := etcdtest.Start(t, 3)
	f := &testFleet{T: t, client: c.Client(), template: &Gate{Group: "daemons"}}
	s := newSite(t, c, testprocess.FromEnv(t, daemonsEnv, manyDaemons))
	began := time.Now()
	load := s.load()

	s.deploy(badVersion)
	testprocess.WaitFor(t, "failure of the bad version", func() bool { return strings.Contains(string(f.document().Bytes()), `"failed"`) })
	c.Nodes[0].Kill()
	waitLong(t, "rejection of the bad version by all", func() bool {
		d := f.snapshot()
		return len(d.Document.Holders) == 0 && len(d.Queue)+s.executed(badVersion) == len(s.daemons)
	})
	if n := s.executed(badVersion); n == 0 || n > daemonMax {
		t.Errorf("%d of %d daemons have executed the bad version", n, len(s.daemons))
	}
	c.Nodes[0].Run()
	t.Logf("%d of %d daemons have executed the bad version, all others have refused it after %v", s.executed(badVersion), len(s.daemons), time.Since(began))

	began = time.Now()
	s.deploy(badVersion + 1)
	waitLong(t, "fixed version everywhere", func() bool { return s.executed(badVersion+1) == len(s.daemons) && f.holders() == "" })
	t.Logf("the fixed version runs everywhere after %v", time.Since(began))
	load.end()
	t.Logf("%d requests", load.requests.Load())

	for i, d := range (&groupRollout{testFleet: f}).history() {
		if len(d.Holders) > daemonMax {
			t.Errorf("change %d: %d slots of %d", i, len(d.Holders), daemonMax)
		}
	}
}

// waitLong is for what all daemons have to do one after the other.
func waitLong(t *testing.T, what string, condition func() bool) {
	t.Helper()
	if !testprocess.Within(5*testprocess.Timeout, condition) {
		t.Fatal("no ", what)
	}
}

// A site is the daemons of a machine.
type site struct {
	*testing.T
	dir       string // of the versions
	daemons   []*daemontest.Daemon
	addresses []string

	mu   sync.Mutex
	runs map[int]map[int]bool // the daemons that have executed a version
}

func newSite(t *testing.T, c *etcdtest.Cluster, n int) *site {
	s := &site{T: t, dir: testprocess.MemoryDir(t), runs: map[int]map[int]bool{}}
	for i := range n {
		d := daemontest.New(t, "member")
		s.daemons = append(s.daemons, d)
		d.Setenv(endpointsEnv + "=" + strings.Join(c.Endpoints(), ","))
		d.Setenv(fmt.Sprintf("%s=member%d", memberEnv, i))
		s.put(d, 1)
		d.Start()
		s.addresses = append(s.addresses, d.Want("ready"))
		go s.follow(i, d)
	}
	return s
}

// put puts a version at the path of a daemon. All daemons have the same file: a copy for each needs gigabytes.
func (s *site) put(d *daemontest.Daemon, version int) {
	s.Helper()
	staged := filepath.Join(s.dir, fmt.Sprint("v", version))
	if _, err := os.Stat(staged); err != nil {
		testprocess.WriteExecutable(s, staged, daemontest.Image(s, version))
	}
	fresh := filepath.Join(s.dir, "new")
	if err := os.Link(staged, fresh); err != nil {
		s.Fatal(err)
	}
	d.Rename(fresh, d.Path)
}

func (s *site) deploy(version int) {
	s.Helper()
	for _, d := range s.daemons {
		s.put(d, version)
	}
}

// follow notes which versions a daemon executes.
func (s *site) follow(i int, d *daemontest.Daemon) {
	for {
		event, status, ok := d.TryNext()
		if !ok {
			return
		}
		if event == "start" {
			s.mu.Lock()
			if s.runs[status.Version] == nil {
				s.runs[status.Version] = map[int]bool{}
			}
			s.runs[status.Version][i] = true
			s.mu.Unlock()
		}
	}
}

// executed returns how many daemons have executed a version.
func (s *site) executed(version int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs[version])
}

// A siteLoad is clients that ask one daemon after the other.
type siteLoad struct {
	requests atomic.Int64
	end      func()
}

func (s *site) load() *siteLoad {
	l := new(siteLoad)
	stop := make(chan struct{})
	var running sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{DialContext: testprocess.DialContext, DisableKeepAlives: true}}
	for first := range 4 {
		running.Go(func() {
			for i := first; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				if err := get(client, s.addresses[i%len(s.addresses)]); err != nil {
					s.Errorf("daemon %d has lost a request: %v", i%len(s.addresses), err)
				}
				l.requests.Add(1)
			}
		})
	}
	l.end = sync.OnceFunc(func() {
		close(stop)
		running.Wait()
	})
	s.Cleanup(l.end)
	return l
}

func get(client *http.Client, address string) error {
	r, err := client.Get("http://" + address)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || len(b) == 0 {
		return fmt.Errorf("got %q, %v", b, err)
	}
	return nil
}
