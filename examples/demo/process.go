package main

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// daemon is the process whose versions are deployed. It is the same process from beginning
// to end. With Overlap it has children meanwhile.
type daemon struct {
	cmd   *exec.Cmd
	log   log
	ended chan struct{}
}

// Strings that identify lines of the daemon's log.
const (
	startMark     = " serves http://"
	rejectionMark = " new version "
	standInMark   = " failed as a stand-in "
	takeoverMark  = " took over from the previous version "
)

// startDaemon starts the daemon. It calls ended, with the reason, when the daemon ends.
func startDaemon(path, address string, flags []string, ended func(error)) (*daemon, error) {
	d := &daemon{
		cmd:   exec.Command(path, append(flags, "-listen", address)...),
		log:   log{grown: make(chan struct{})},
		ended: make(chan struct{}),
	}
	setApart(d.cmd)
	d.cmd.Stderr = &d.log
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(d.ended)
		d.cmd.Wait()
		ended(errors.New("the daemon has ended: " + d.cmd.ProcessState.String()))
	}()
	return d, nil
}

func (d *daemon) pid() int { return d.cmd.Process.Pid }

// stop stops the daemon, and waits until it has ended and its log is complete.
func (d *daemon) stop() {
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(5 * time.Second):
		d.cmd.Process.Kill()
		<-d.ended
	}
}

// log contains what the daemon has written to standard error.
type log struct {
	mu    sync.Mutex
	text  []byte
	grown chan struct{} // closed when there is more
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	close(l.grown)
	l.grown = make(chan struct{})
	return len(b), nil
}

// lines returns the lines so far that contain mark, and a channel that is closed when there
// may be more.
func (l *log) lines(mark string) (lines []string, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.text) {
		if s, whole := strings.CutSuffix(string(line), "\n"); whole && strings.Contains(s, mark) {
			lines = append(lines, s)
		}
	}
	return lines, l.grown
}

// await waits for the nth line that contains mark, counted from 1.
func (l *log) await(ctx context.Context, mark string, n int) (string, error) {
	for {
		lines, more := l.lines(mark)
		if len(lines) >= n {
			return lines[n-1], nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}
