//go:build linux

package reap

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A shell makes ten orphans for each line that it writes, as fast as it can. Process 1
// of its PID namespace is the peer.
const (
	orphanSource   = "while echo && (:& :& :& :& :& :& :& :& :& :&); do :; done"
	orphansPerLine = 10
	rateRun        = time.Second / 2 // for how long
)

// initPrograms run the source as their child. The libraries do so in the process of the
// case "rate".
var initPrograms = map[string][]string{
	"tini":      {"tini", "--", "sh", "-c", orphanSource},
	"dumb-init": {"dumb-init", "--", "sh", "-c", orphanSource},
}

// bareLoop is what the peers are compared with. It takes the children of os/exec, too.
var bareLoop = peer{name: "wait4-loop", start: func() {
	go func() {
		for {
			if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil { // before the first child
				time.Sleep(time.Millisecond)
			}
		}
	}()
}}

func init() {
	cases["rate"] = reapCase{
		func() {
			if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
				fatal(err)
			}
			if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
				fatal(err)
			}
		},
		func(start func() time.Time) {
			start()
			_, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", orphanSource}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
			if err != nil {
				fatal(err)
			}
			time.Sleep(time.Minute)
		},
	}
}

func BenchmarkOrphanRate(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root for PID namespaces")
	}
	for _, name := range []string{"autorestart", "go-reap", "go-reaper", "tini", "dumb-init"} {
		b.Run(name, func(b *testing.B) {
			if program := initPrograms[name]; program != nil {
				if _, err := exec.LookPath(name); err != nil {
					if os.Getenv("CI") == "true" {
						b.Fatal(err)
					}
					b.Skip(err)
				}
			}
			var rates, ratios, waiting []float64
			for range min(b.N, 20) { // in turns, because the machine may do other work
				bare, _ := orphanRate(b, bareLoop.name)
				rate, most := orphanRate(b, name)
				rates = append(rates, rate)
				ratios = append(ratios, rate/bare)
				waiting = append(waiting, float64(most))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(rates), "orphans/s")
			b.ReportMetric(median(ratios), "of-a-wait4-loop")
			b.ReportMetric(slices.Max(waiting), "waiting-at-most")
		})
	}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// orphanRate returns how many orphans the peer has reaped a second, and how many have
// waited at a time.
func orphanRate(b *testing.B, name string) (perSecond float64, most int) {
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(os.Args[0])
	if program := initPrograms[name]; program != nil {
		cmd = exec.Command(program[0], program[1:]...)
	}
	cmd.Env = append(os.Environ(), caseEnv+"=rate", peerEnv+"="+name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, w, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	w.Close()
	defer cmd.Wait()
	defer cmd.Process.Kill() // and with it the namespace
	buf := make([]byte, 64)
	for newlines := 0; newlines < 3; newlines++ { // it has begun
		if _, err := r.Read(buf[:1]); err != nil {
			b.Fatal(name, ": ", err)
		}
		if buf[0] != '\n' {
			newlines = -1 // what a peer prints
		}
	}

	zombies := fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)
	made := 0
	began := time.Now()
	r.SetReadDeadline(began.Add(rateRun))
	for {
		n, err := r.Read(buf)
		if err != nil {
			break
		}
		made += n * orphansPerLine
		most = max(most, countEntries(zombies))
	}
	return float64(made-countEntries(zombies)) / time.Since(began).Seconds(), most
}

func countEntries(children string) int {
	b, _ := os.ReadFile(children)
	return bytes.Count(b, []byte(" "))
}
