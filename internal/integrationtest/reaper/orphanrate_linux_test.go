//go:build linux && !autorestart_portable

package reaper_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// The scenario is on the main thread, where package initialisation is.
func init() {
	if os.Getenv(scenarioEnv) == "orphans at a rate" {
		runtime.LockOSThread()
	}
}

// Orphans come at a rate, as far as the machine makes that many, beside children of
// os/exec. Some of these are in the list of the main thread, among the orphans, and are
// waited for late. No more than a thousand wait at a time.
var _ = registerScenario("orphans at a rate", func() {
	if os.Geteuid() == 0 {
		enterPIDNamespace()
	}
	needSubreaper()
}, func() {
	if !startedByPidfd() {
		skip("without pidfds, orphans of our session are left")
	}
	const perSecond, during = 2000, 3 * time.Second
	end := startOrphans(&autorestart.Orphans{Subreaper: true})
	eventually("subreaper", getsOrphans)

	var wrong, runs atomic.Int64
	start := func() (wait func()) {
		want := int(runs.Add(1) % 256)
		cmd := exec.Command("/bin/sh", "-c", "exit "+strconv.Itoa(want))
		check(cmd.Start() == nil, "sh")
		return func() {
			if err := cmd.Wait(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
				wrong.Add(1)
				fmt.Fprintln(os.Stderr, "want", want, "got", err, cmd.ProcessState)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), during)
	defer cancel()
	var beside sync.WaitGroup
	for range 2 {
		beside.Go(func() {
			for ctx.Err() == nil {
				start()()
			}
		})
	}
	more, stop := startOrphanSource()
	const late = 10
	var waits []func()
	most, made := 0, 0
	tick := time.NewTicker(5 * time.Millisecond)
	const behind = 100 // at most: what a machine that stood still could not make does not come at once
	due := func(began time.Time) int { return int(time.Since(began).Seconds() * perSecond) }
	skipped := 0
	for began := time.Now(); ctx.Err() == nil; <-tick.C {
		skipped = max(skipped, due(began)-behind-made)
		for skipped+made < due(began) && ctx.Err() == nil {
			more()
			made += 10
		}
		most = max(most, countChildren())
		if waits = append(waits, start()); len(waits) > late {
			waits[0]()
			waits = waits[1:]
		}
	}
	for _, wait := range waits {
		wait()
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

// As many orphans as the shell makes, reaped by Orphans and by a loop of wait4(2) in
// turns, with many descriptors open or few.
var _ = registerScenario("bench orphan rate", needSubreaper, func() {
	const turns = 4
	openSockets()
	rates := make(map[string][]float64)
	most := 0
	for turn := range 2 * turns {
		by, reap := "orphans", reapByOrphans
		if turn%4 == 1 || turn%4 == 2 { // neither is always the first
			by, reap = "wait4", reapByWaiting
		}
		end := reap()
		began := time.Now()
		made, waiting := makeOrphans(400 * time.Millisecond)
		rates[by] = append(rates[by], float64(made)/time.Since(began).Seconds())
		if end(); by == "orphans" {
			most = max(most, waiting)
		}
	}
	for by, all := range rates {
		slices.Sort(all)
		metric(all[turns/2], "orphans/s-by-"+by)
	}
	metric(rates["orphans"][turns/2]/rates["wait4"][turns/2], "rate-ratio")
	metric(float64(most), "waiting-at-most")
})

// makeOrphans has a shell make orphans for some time, and waits until all are gone. It
// returns how many there were, and how many have waited at a time.
func makeOrphans(during time.Duration) (made, waiting int) {
	r, w, err := os.Pipe()
	check(err == nil, err)
	defer r.Close()
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "while echo && " + startTen + "; do :; done"},
		&syscall.ProcAttr{Files: []uintptr{0, w.Fd(), 2}})
	check(err == nil, err)
	w.Close()
	r.SetReadDeadline(time.Now().Add(during))
	for buf := make([]byte, 1); err == nil; {
		n := 0
		n, err = r.Read(buf)
		if made += 10 * n; made%200 == 0 {
			waiting = max(waiting, countChildren())
		}
	}
	r.Close()                       // which ends the shell
	syscall.Wait4(pid, nil, 0, nil) // unless it has been waited for
	eventually("all are gone", haveNoChildren)
	return made, waiting
}

func reapByOrphans() (end func()) {
	end = startOrphans(&autorestart.Orphans{Subreaper: true})
	eventually("subreaper", getsOrphans)
	return end
}

// reapByWaiting begins with the first child and ends with the last one.
func reapByWaiting() (end func()) {
	check(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil, "prctl")
	done := make(chan bool)
	go func() {
		defer close(done)
		for haveNoChildren() {
			time.Sleep(time.Millisecond)
		}
		for {
			if _, err := syscall.Wait4(-1, nil, 0, nil); err == syscall.ECHILD {
				return
			}
		}
	}()
	return func() {
		<-done
		check(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == nil, "prctl")
	}
}

func BenchmarkOrphanRate(b *testing.B) {
	for _, sockets := range []string{"0", "10000"} {
		b.Run("sockets="+sockets, func(b *testing.B) {
			b.Setenv(socketsEnv, sockets)
			rounds := min(b.N, 5)
			if sockets == "0" {
				rounds = max(rounds, 3) // machines have moments in which no process runs
			}
			medians := reportMedians(b, scenarioValues(b, 0, rounds, "bench orphan rate"))
			if rounds >= 3 { // a look at so many descriptors takes a while where others run
				atMost(b, medians, "waiting-at-most", 1000)
			}
		})
	}
}
