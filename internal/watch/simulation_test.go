package watch_test

import (
	"context"
	"path"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/simulation"
)

// tail is how long nothing happens at the end of a schedule.
const tail = 30 * time.Second

// TestSimulation watches a path of a simulated machine while at random moments versions are
// deployed in all ways, files are damaged, mounts come and go, and calls fail. Whatever happens:
//
//   - nothing is offered or executed that is not a whole program for this machine, executable
//     and trusted
//   - when nothing happens any more, the last good version is found, and each one once
//   - no look is made that nothing calls for
//   - everything that was opened is closed
func TestSimulation(t *testing.T) { simulation.Run(t, 1500, simulate) }

// TestSimulationRepeats: a schedule follows from its seed.
func TestSimulationRepeats(t *testing.T) { simulation.Repeats(t, 20, simulate) }

func simulate(t *testing.T, s *simulation.Schedule) {
	k := &kernel{Schedule: s, files: newFiles(), config: newConfig(s)}
	w := &world{Schedule: s, k: k, left: 1 + s.IntN(12)}
	k.world = w
	o := &oracle{k: k, w: w, rejections: map[candidate.ID]bool{}}
	c := &caller{k: k, w: w, oracle: o}
	k.oracle, o.caller = o, c
	s.Tracef("%+v", k.config)

	w.layOut()
	w.next = time.Now().Add(w.gap())
	w.onCalm = o.arrived
	ctx, cancel := context.WithCancelCause(t.Context())
	w.onQuiet = func(d time.Duration) {
		time.AfterFunc(d+settled+tail, func() { cancel(errEnded) })
	}
	c.run(ctx)
	o.idle()
	c.watcher.Close()
	o.closed()
}

func newConfig(s *simulation.Schedule) config {
	oneOf := func(rates ...int) int { return rates[s.IntN(len(rates))] }
	return config{
		racy:        oneOf(0, 50, 10, 3),
		racyWalk:    oneOf(0, 0, 3),
		faulty:      oneOf(0, 0, 100, 20, 6),
		silent:      s.Chance(6),
		noInotify:   s.Chance(20),
		noMounts:    s.Chance(20),
		noLeases:    s.Chance(5),
		privileged:  s.Chance(2),
		capable:     s.Chance(8),
		owner:       uint32(oneOf(0, 0, 0, 7)),
		interval:    time.Duration(oneOf(0, 0, 0, 300, 4000)) * time.Millisecond,
		trustsAny:   s.Chance(8),
		handsOver:   !s.Chance(4),
		restarts:    s.Chance(2),
		verifies:    s.Chance(2),
		needsLoader: s.Chance(4),
	}
}

// layOut makes the first version, which runs, and what the path leads through.
func (w *world) layOut() {
	if w.k.config.silent {
		w.k.root.volume.magic = silentMagic
	}
	layouts := [...]struct {
		path, file string
		link       link
	}{
		{"/app", "/app", link{}},
		{"/srv/app", "/srv/app", link{}},
		{"/srv/a/b/app", "/srv/a/b/app", link{}},
		{"/srv/current/app", "/srv/releases/1/app", link{"/srv/current", "releases/%d", "app"}},
		{"/srv/current/bin/app", "/opt/1/bin/app", link{"/srv/current", "/opt/%d", "bin/app"}},
		{"/bin/app", "/opt/1/app", link{"/bin/app", "/opt/%d/app", ""}},
		{"/vol/app", "/vol/..1/app", link{"/vol/..data", "..%d", "app"}},
	}
	l := layouts[w.IntN(len(layouts))]
	w.path, w.file, w.link = l.path, l.file, l.link
	dir := w.k.makeDirs(path.Dir(w.file))
	w.versions = 1
	first := w.k.create(dir, path.Base(w.file), 0o755)
	first.content, first.uid, first.capable, first.running = program(1, false), w.k.config.owner, w.k.config.capable, true
	w.deployed = append(w.deployed, first.content)
	w.k.running = first
	if w.link.path != "" {
		w.k.symlink(w.k.makeDirs(path.Dir(w.link.path)), path.Base(w.link.path), w.link.release(1))
	}
	if w.path == "/vol/app" {
		w.k.symlink(w.k.makeDirs("/vol"), "app", "..data/app")
	}
	w.k.create(w.k.makeDirs("/lib"), "ld.so", 0o755)
	w.k.oracle.note()
}
