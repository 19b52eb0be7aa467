//go:build linux && !autorestart_portable

package reaper_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
)

// startTen is a command for the shell: ten orphans of its session.
const startTen = "(:& :& :& :& :& :& :& :& :& :&)"

// startOrphanSource starts a shell that makes ten orphans whenever more is called. The
// shell ends when stop is called.
func startOrphanSource() (more, stop func()) {
	cmd := exec.Command("/bin/sh", "-c", "while read line; do "+startTen+"; echo; done")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(err == nil, err)
	out, err := cmd.StdoutPipe()
	check(err == nil, err)
	check(cmd.Start() == nil, "sh")
	return func() {
			in.Write([]byte("\n"))
			_, err := out.Read(make([]byte, 1))
			check(err == nil, err)
		}, func() {
			in.Close()
			check(cmd.Wait() == nil, "sh")
		}
}

// countChildren returns how many children the main thread has: living ones and those
// that wait to be reaped.
func countChildren() int {
	b, err := os.ReadFile(mainThreadsChildren())
	check(err == nil, err)
	return bytes.Count(b, []byte(" "))
}

// Orphans come at a rate, as far as the machine makes that many, beside children of
// os/exec. No more than a thousand wait at a time.
var _ = registerScenario("orphans at a rate", needSubreaper, func() {
	const perSecond, during = 2000, 3 * time.Second
	end := startOrphans(&autorestart.Orphans{Subreaper: true})
	eventually("subreaper", getsOrphans)

	ctx, cancel := context.WithTimeout(context.Background(), during)
	defer cancel()
	var beside sync.WaitGroup
	var wrong, runs atomic.Int64
	for range 2 {
		beside.Go(func() {
			for ctx.Err() == nil {
				want := int(runs.Add(1) % 256)
				cmd := exec.Command("/bin/sh", "-c", "exit "+strconv.Itoa(want))
				err := cmd.Run()
				if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
					wrong.Add(1)
					fmt.Fprintln(os.Stderr, "want", want, "got", err, cmd.ProcessState)
				}
			}
		})
	}
	more, stop := startOrphanSource()
	most, made := 0, 0
	tick := time.NewTicker(5 * time.Millisecond)
	for began := time.Now(); ctx.Err() == nil; <-tick.C {
		for made < int(time.Since(began).Seconds()*perSecond) && ctx.Err() == nil {
			more()
			made += 10
		}
		most = max(most, countChildren())
	}
	beside.Wait()
	stop()
	fmt.Println(made, "orphans beside", runs.Load(), "children, at most", most, "waiting")
	check(wrong.Load() == 0, "wrong statuses:", wrong.Load())
	check(most <= 1000, "waiting at a time:", most)
	eventually("all orphans are reaped", haveNoChildren)
	end()
})

func TestOrphansAtARate(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three seconds")
	}
	runScenarioOn(t, "orphans at a rate", "none")
}
