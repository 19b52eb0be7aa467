//go:build linux

package etcdgate

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const rolloutsEnv = "AUTORESTART_TEST_ROLLOUTS"

// atOnce is how many rollouts, each of a group, share what happens to the cluster.
const atOnce = 8

// TestRollouts deploys versions to groups, while a node of three is killed and starts again, stands still, or
// is cut off. Each rollout is checked by its history, in the logs of the members and in the revisions of etcd:
//
//   - at no time do more than Max members hold a slot, and who executes a version holds one
//   - no more than Canaries members execute a version before it is proven
//   - once a version has failed, no slot is given for it
//   - the version that fixes it reaches all members, without an operator
func TestRollouts(t *testing.T) {
	rollouts := testprocess.FromEnv(t, rolloutsEnv, 2*atOnce)
	c := etcdtest.Start(t, 3)
	client := c.Client()
	var total tally
	for first := 1; first <= rollouts; first += atOnce {
		r := rand.New(rand.NewPCG(uint64(first), 0))
		var running sync.WaitGroup
		for seed := first; seed < first+atOnce; seed++ {
			g := newRollout(t, client, uint64(seed))
			running.Go(func() { g.run(); total.add(g) })
		}
		heal := disturb(c, r)
		running.Wait()
		heal()
		if t.Failed() {
			t.Fatalf("in the rollouts %d to %d, with %s", first, first+atOnce-1, total.faults(first))
		}
	}
	t.Logf("%d rollouts: %d executions, %d rollbacks, %d crashes, %d versions refused", total.rollouts, total.executed, total.rolledBack, total.crashed, total.refused)
}

// disturb does something to a node, and undoes that a while later. The result waits for that.
func disturb(c *etcdtest.Cluster, r *rand.Rand) (heal func()) {
	node := c.Nodes[r.IntN(len(c.Nodes))]
	after, lasts := time.Duration(r.IntN(300))*time.Millisecond, time.Duration(300+r.IntN(2000))*time.Millisecond
	begin, end := func() {}, func() {}
	switch r.IntN(4) {
	case 0:
		begin, end = node.Kill, node.Run
	case 1:
		begin, end = node.Pause, node.Continue
	case 2:
		begin, end = node.CutOff, node.Reconnect
	}
	var done sync.WaitGroup
	done.Go(func() {
		time.Sleep(after)
		begin()
		time.Sleep(lasts)
		end()
	})
	return done.Wait
}

// A tally is what has happened in all rollouts.
type tally struct {
	mu                                               sync.Mutex
	rollouts, executed, rolledBack, crashed, refused int
}

func (t *tally) add(g *groupRollout) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rollouts++
	t.executed += len(g.executions)
	t.rolledBack += g.rolledBack
	t.crashed += g.crashed
	t.refused += g.refused
}

func (*tally) faults(first int) string {
	return fmt.Sprintf("the seeds from %d; to repeat what happens: %s=%d", first, rolloutsEnv, first)
}
