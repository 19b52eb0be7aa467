//go:build linux && !autorestart_portable

package pressure

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A result is what has come of a server, as a table.
type result []row

type row struct{ name, value string }

func (r *run) result() (res result) {
	add := func(name, format string, args ...any) {
		res = append(res, row{name, fmt.Sprintf(format, args...)})
	}
	add("seed", "%d", r.seed)
	add("duration", "%v", time.Since(r.began).Round(100*time.Millisecond))
	add("load average", "%s at the beginning, %s at the end", r.loadBegan, loadAverage())
	add("deploys", "%d (%d pairs, %d bursts of %d)", r.newest-1, r.pairs, r.bursts, r.burst)
	add("restarts", "%d (%d of them before the image had said that it was ready)", len(r.images)-1, r.replacedEarly())
	if r.mode.overlap {
		add("stand-ins", "%d that were ready and served", r.standIns/2)
	}
	add("slowest deploy", "%v from the rename to Ready", r.slowest.Round(time.Millisecond))
	for _, note := range r.notes {
		add(r.mode.name, "%s", note)
	}
	lost, dead := 0, 0
	for _, l := range r.losses() {
		if l.kind == "udp" {
			continue
		}
		lost++
		if l.idleDead() {
			dead++
		}
	}
	requests, all, byKind, reopened := 0, new(histogram), "", 0
	for _, kind := range r.mode.clients {
		n := 0
		for _, c := range r.clients {
			if c.kind == kind.name {
				n += c.requests
				reopened += c.reopened
				all.merge(&c.latency)
			}
		}
		requests += n
		byKind += fmt.Sprintf(", %d %s", n, kind.name)
	}
	add("requests", "%d%s", requests, byKind)
	add("requests lost", "%d", lost)
	add("idle connections dead", "%d (%d closed as announced)", dead, reopened)
	add("slowest request", "%v, p50 %v, p99 %v", all.slowest.Round(time.Microsecond), all.quantile(0.5), all.quantile(0.99))
	p := r.packets
	add("datagrams", "%d (%d a second), %d found a full buffer; the queues of the CPUs dropped %d packets of all processes", p.sent.Load(), int(float64(p.sent.Load())/p.sending.Seconds()), p.dropped, p.queued)
	add("datagrams lost", "%d", len(p.losses()))
	add("slowest datagram", "%v, p50 %v, p99 %v", p.latency.slowest.Round(time.Microsecond), p.latency.quantile(0.5), p.latency.quantile(0.99))
	return res
}

// A report is a file in docs/runs about a mode.
type report struct {
	plan    plan
	mode    mode
	began   time.Time
	results []result // of each server
}

func newReport(p plan, m mode) *report { return &report{plan: p, mode: m, began: time.Now().UTC()} }

func (rep *report) add(res result) { rep.results = append(rep.results, res) }

func (rep *report) write(t *testing.T) {
	root := testprocess.ModuleRoot(t)
	dir := filepath.Join(root, "docs", "runs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, rep.began.Format(time.DateOnly)+"-"+rep.mode.name+".md")
	if err := os.WriteFile(name, []byte(rep.text(root, t.Failed())), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (rep *report) text(root string, failed bool) string {
	var kernel unix.Utsname
	unix.Uname(&kernel)
	outcome := "passed"
	if failed {
		outcome = "failed"
	}
	text := "# Pressure, mode " + rep.mode.name + "\n\n" + result{
		{"command", fmt.Sprintf("`%s=%d %s=%d go test -timeout 4h -run TestPressure/%s ./internal/pressure`",
			wholeEnv, rep.plan.pairs, seedEnv, rep.plan.seed, rep.mode.name)},
		{"result", outcome},
		{"commit", commit(root)},
		{"date", rep.began.Format(time.RFC3339)},
		{"duration", time.Since(rep.began).Round(time.Second).String()},
		{"kernel", unix.ByteSliceToString(kernel.Release[:])},
		{"CPUs", fmt.Sprint(runtime.NumCPU())},
		{"Go", runtime.Version()},
	}.table()
	for i, res := range rep.results {
		text += fmt.Sprintf("\n## Server %d\n\n", i+1) + res.table()
	}
	return text
}

func (res result) table() string {
	text := "| | |\n|---|---|\n"
	for _, row := range res {
		text += "| " + row.name + " | " + row.value + " |\n"
	}
	return text
}

// commit returns the commit of the sources, with "-dirty" if they differ from it.
func commit(root string) string {
	git := func(args ...string) string {
		output, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		if err != nil {
			return "unknown"
		}
		return strings.TrimSpace(string(output))
	}
	hash := git("rev-parse", "HEAD")
	if git("status", "--porcelain", "--untracked-files=no") != "" {
		hash += "-dirty"
	}
	return hash
}
