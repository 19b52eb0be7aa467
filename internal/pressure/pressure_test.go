//go:build linux && !autorestart_portable

package pressure

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// wholeEnv has the number of pairs of deploys in the whole form.
const wholeEnv = "AUTORESTART_TEST_PRESSURE"

// TestPressure is described at the package.
func TestPressure(t *testing.T) {
	seed := testprocess.FromEnv(t, seedEnv, int(time.Now().UnixNano()%1e9))
	t.Logf("%s=%d", seedEnv, seed)
	pairs := testprocess.FromEnv(t, wholeEnv, 0)
	for _, m := range modes {
		p := plan{pairs: m.short, bursts: 1, burst: 15, datagrams: 1000, seed: seed}
		if pairs > 0 {
			p = plan{pairs: pairs, bursts: pairs / 20, burst: 100, datagrams: 10_000, seed: seed, whole: true}
		}
		t.Run(m.name, func(t *testing.T) { m.run(t, p) })
	}
}

// A plan is how much is done in a run.
type plan struct {
	pairs     int
	bursts    int
	burst     int // deploys in a burst
	datagrams int // a second
	seed      int
	whole     bool
}

// parts divides the plan among servers that get at most so many pairs each. Their seeds
// differ.
func (p plan) parts(pairs int) (parts []plan) {
	for ; p.pairs > pairs; p.pairs -= pairs {
		part := p
		part.pairs, part.bursts = pairs, p.bursts*pairs/p.pairs
		p.bursts -= part.bursts
		parts = append(parts, part)
		p.seed++
	}
	return append(parts, p)
}

// A run is one server under pressure.
type run struct {
	plan
	mode mode
	t    *testing.T
	rand *rand.Rand
	d    *daemontest.Daemon
	timeline
	first    image
	newest   int           // version
	standIns int           // events of them
	slowest  time.Duration // from a deploy to the end of its start
	content  []byte
	staged   []string

	clients []*client
	http2   *http.Transport
	packets *datagrams
	stop    chan struct{}
	wg      sync.WaitGroup

	began     time.Time
	loadBegan string
	notes     []string // of the mode
}

// runServer runs a server under pressure. It reports the result also after a failure.
func runServer(t *testing.T, p plan, m mode, rep *report) {
	r := &run{
		plan: p, mode: m, t: t,
		rand:    rand.New(rand.NewPCG(uint64(p.seed), 0)),
		d:       daemontest.New(t, "server"),
		newest:  1,
		content: daemontest.Image(t, 1),
		stop:    make(chan struct{}),
	}
	r.d.Setenv(seedEnv + "=" + strconv.Itoa(p.seed))
	r.d.Setenv(unixEnv + "=" + filepath.Join(filepath.Dir(r.d.Path), "socket"))
	r.d.Mkdir(r.stageDir())
	if m.overlap {
		r.d.Setenv(overlapEnv + "=1")
	}
	if m.before != nil {
		m.before(r)
	}
	r.timeline.deployed = []time.Time{{}, time.Now()}
	r.d.Start()
	r.first = r.awaitReady()
	r.began, r.loadBegan = time.Now(), loadAverage()
	defer func() {
		close(r.stop)
		r.wg.Wait()
		rep.add(r.judge())
	}()
	r.startLoad()
	if m.loaded != nil {
		m.loaded(r)
	}
	for i := range p.pairs {
		r.deployPair()
		if p.bursts > 0 && (i+1)%(p.pairs/p.bursts) == 0 {
			r.deployBurst()
		}
	}
}

func (r *run) startLoad() {
	r.packets = newDatagrams(r.t, r.first.UDP, r.plan.datagrams)
	r.wg.Go(func() { r.packets.during(r.stop) })
	for _, kind := range r.mode.clients {
		for range kind.n {
			r.startClient(kind)
		}
	}
}

func (r *run) startClient(kind clientKind) *client {
	c := &client{kind: kind.name, number: len(r.clients), served: make(chan struct{}), rand: rand.New(rand.NewPCG(uint64(r.seed), uint64(1000+len(r.clients))))}
	kind.start(r, c)
	r.clients = append(r.clients, c)
	r.wg.Go(func() { c.run(r.stop) })
	return c
}

// address returns the network and the address of the server's listener.
func (r *run) address(network string) (string, string) {
	switch network {
	case "unix":
		return "unix", filepath.Join(filepath.Dir(r.d.Path), "socket")
	case "tls":
		return "tcp", r.first.TLS
	default:
		return "tcp", r.first.TCP
	}
}

// deployPair deploys two versions, the second one soon after the first.
func (r *run) deployPair() {
	r.stage(2)
	r.pause(50 * time.Millisecond)
	r.deploy()
	r.pause(100 * time.Millisecond)
	r.deploy()
	r.awaitNewest()
}

// deployBurst deploys many versions in a row.
func (r *run) deployBurst() {
	r.stage(r.burst)
	for range r.burst {
		r.deploy()
		r.pause(4 * time.Millisecond)
		time.Sleep(time.Millisecond)
	}
	r.awaitNewest()
}

func (r *run) pause(limit time.Duration) { time.Sleep(time.Duration(r.rand.Int64N(int64(limit)))) }

func (r *run) stageDir() string { return filepath.Join(filepath.Dir(r.d.Path), "staged") }

// stage writes the next n versions.
func (r *run) stage(n int) {
	for i := range n {
		version := r.newest + 1 + i
		copy(r.content[len(r.content)-daemontest.TrailerSize:], daemontest.Trailer(version))
		name := filepath.Join(r.stageDir(), strconv.Itoa(version))
		r.d.Write(name, r.content)
		r.staged = append(r.staged, name)
	}
}

// deploy deploys the next version that was staged.
func (r *run) deploy() {
	r.newest++
	r.deployed = append(r.deployed, time.Now())
	r.d.Rename(r.staged[0], r.d.Path)
	r.staged = r.staged[1:]
}

func (r *run) awaitNewest() {
	r.t.Helper()
	i := r.awaitReady()
	for i.Version != r.newest {
		i = r.awaitReady()
	}
	r.slowest = max(r.slowest, i.Times.Ready.Sub(r.deployed[r.newest]))
}

// awaitReady waits until the next image is ready.
func (r *run) awaitReady() image {
	r.t.Helper()
	for {
		event, text := r.d.Next()
		if event == "start" {
			r.checkStart(text)
			continue
		}
		var i image
		if err := json.Unmarshal([]byte(text), &i); err != nil {
			r.t.Fatal(err)
		}
		if i.StandIn {
			r.standIns++
			continue
		}
		if event == "begun" {
			r.images = append(r.images, i)
			continue
		}
		if i.RolledBack != "" {
			r.t.Errorf("generation %d runs version %d: %s", i.Generation, i.Version, i.RolledBack)
		}
		r.images[len(r.images)-1] = i
		return i
	}
}

func (r *run) checkStart(text string) {
	r.t.Helper()
	var s daemontest.Status
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		r.t.Fatal(err)
	}
	if s.PID != r.d.PID() && !r.mode.overlap { // with Overlap it is that of a stand-in
		r.t.Fatalf("version %d runs in process %d, not in %d", s.Version, s.PID, r.d.PID())
	}
}

// judge fails the test for what was lost, and returns the result.
func (r *run) judge() result {
	const shown = 4
	reports := r.describe(r.losses())
	for i, text := range reports {
		if i == shown {
			r.t.Errorf("losses at %d more moments", len(reports)-shown)
			break
		}
		r.t.Error(text)
	}
	res := r.result()
	for _, line := range res {
		r.t.Log(line.name + ": " + line.value)
	}
	return res
}

// losses returns all losses, in the order of their times.
func (r *run) losses() (lost []loss) {
	for _, c := range r.clients {
		lost = append(lost, c.losses...)
	}
	lost = append(lost, r.packets.losses()...)
	slices.SortFunc(lost, func(a, b loss) int { return a.failed.Compare(b.failed) })
	return lost
}

func loadAverage() string {
	content, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(content))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
