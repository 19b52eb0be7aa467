// Package testclock has the clock of all limits that tests have, and waits by it. A busy machine
// holds the clock up as it does the test.
package testclock

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The clock of all limits that tests have. It counts time in which this process and its
// descendants, such as the daemons that it tests, are not held up: where their threads wait
// for a CPU three times as long as they run, the clock goes at a quarter of its speed. It does not
// count either for how long one of these processes has waited. Where none of them wants to run
// it goes as any other. So a limit is the time that something may
// take on a machine that has nothing else to do, whatever else this one does.
var clock struct {
	mu      sync.Mutex
	passed  time.Duration
	told    time.Time     // when passed was right
	read    time.Time     // when threads was
	speed   float64       // from told on
	pause   time.Duration // until it is worth the time to look again
	threads map[thread]cpuTime
}

type thread struct{ process, id string }

// cpuTime is the time for which threads have run, and waited for a CPU.
type cpuTime struct{ ran, waited time.Duration }

func (c cpuTime) plus(d cpuTime) cpuTime { return cpuTime{c.ran + d.ran, c.waited + d.waited} }

func (c cpuTime) minus(d cpuTime) cpuTime { return cpuTime{c.ran - d.ran, c.waited - d.waited} }

// slowdown returns by which factor the threads were held up.
func (c cpuTime) slowdown() float64 {
	if c.ran <= 0 || c.waited <= 0 {
		return 1
	}
	return float64(c.ran+c.waited) / float64(c.ran)
}

// now returns the time on the clock.
func now() time.Duration {
	clock.mu.Lock()
	defer clock.mu.Unlock()
	wall := time.Now()
	switch elapsed := wall.Sub(clock.read); {
	case clock.threads == nil:
		clock.threads, clock.read, clock.told = readThreads(), wall, wall
	case elapsed >= clock.pause:
		before := clock.threads
		clock.threads, clock.read = readThreads(), wall
		clock.speed = speed(elapsed, before, clock.threads)
		clock.pause = min(max(50*time.Millisecond, 20*time.Since(wall)), time.Second/2) // many threads take a while
	}
	clock.passed += time.Duration(float64(wall.Sub(clock.told)) * clock.speed)
	clock.told = wall
	return clock.passed
}

// speed returns how fast the clock goes, 1 at most, given for how long the threads have run and
// waited before and after the elapsed time.
func speed(elapsed time.Duration, before, after map[thread]cpuTime) float64 {
	var in cpuTime // the time that has passed
	waited := map[string]time.Duration{}
	for thread, c := range after {
		if d := c.minus(before[thread]); d.ran >= 0 && d.waited >= 0 {
			c = d
		} // otherwise it is another thread by now
		in = in.plus(c)
		waited[thread.process] += c.waited
	}
	left := elapsed
	for _, d := range waited {
		left = min(left, elapsed-d)
	}
	// Where each waits for the others, the clock goes on.
	return max(1/20., min(float64(left)/float64(elapsed), 1/in.slowdown()))
}

// readThreads reads schedstat of all threads of this process and of its descendants. Where
// the kernel does not tell, it returns less or nothing, and the clock goes as any other.
func readThreads() map[thread]cpuTime {
	const most = 64 // processes; the times of those say enough of the others
	times := map[thread]cpuTime{}
	processes := []string{"self"}
	for i := 0; i < len(processes) && i < most; i++ {
		dirs, _ := filepath.Glob("/proc/" + processes[i] + "/task/*")
		for _, dir := range dirs {
			var c cpuTime
			content, _ := os.ReadFile(dir + "/schedstat") // 245395728 104298017 1474
			fmt.Sscan(string(content), &c.ran, &c.waited)
			times[thread{processes[i], filepath.Base(dir)}] = c
			children, _ := os.ReadFile(dir + "/children")
			processes = append(processes, strings.Fields(string(children))...)
		}
	}
	return times
}

// A Stopwatch measures how long something takes, but for the time in which this process and its
// descendants were held up.
type Stopwatch struct{ started time.Duration }

// StartStopwatch returns a running stopwatch.
func StartStopwatch() Stopwatch { return Stopwatch{now()} }

// Elapsed returns how long the stopwatch has run.
func (s Stopwatch) Elapsed() time.Duration { return now() - s.started }
