package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// patience is how long anything may take before the demo fails. It all takes
// milliseconds, unless the machine is very busy.
const patience = 15 * time.Second

// performance is the story being told.
type performance struct {
	daemon  *daemon
	client  *client
	now     answer          // what the client has to hear until the next deploy
	serving []time.Duration // of each deploy, from its beginning to the first answer
	idle    int             // steps that were no deploy
}

// perform starts the daemon and the client, and goes through the story.
func perform(ctx context.Context, s site) (err error) {
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	address, err := freeAddress()
	if err != nil {
		return err
	}
	d, err := startDaemon(s.path(executable), address, fail)
	if err != nil {
		return err
	}
	defer func() {
		d.stop()
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\n\nThe daemon's log:\n%s", err, d.log.text)
		}
	}()
	url := "http://" + address + "/version"
	printRunning(s, url)

	p := &performance{daemon: d}
	if err := p.begin(running, url, fail); err != nil {
		return err
	}
	defer p.client.stop()
	for _, step := range s.story() {
		if err := p.take(running, step); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}

	p.client.stop()
	d.stop()
	if starts, _ := d.log.lines(startMark); len(starts) != 1+len(p.serving) {
		return fmt.Errorf("%d starts after %d deploys", len(starts), len(p.serving))
	}
	printSummary(p)
	return nil
}

// begin starts the client once the daemon serves, and waits for its first answer.
func (p *performance) begin(ctx context.Context, url string, fail func(error)) error {
	soon, cancel := within(ctx)
	defer cancel()
	if err := p.awaitStart(soon, versions[0]); err != nil {
		return err
	}
	p.client = startClient(ctx, url, fail)
	if _, err := p.awaitChange(soon, versions[0]); err != nil {
		p.client.stop()
		return err
	}
	printFirst(p.now)
	return nil
}

// take takes one step, and prints what came of it if that is what should.
func (p *performance) take(ctx context.Context, s step) error {
	ctx, cancel := within(ctx)
	defer cancel()
	if s.prepare != nil {
		if err := s.prepare(); err != nil {
			return err
		}
	}
	refusals, _ := p.daemon.log.lines(refusalMark)
	start := time.Now()
	if err := s.do(ctx); err != nil {
		return err
	}
	took := time.Since(start)

	if s.outcome == served {
		at, err := p.awaitChange(ctx, s.version)
		if err != nil {
			return err
		}
		p.serving = append(p.serving, at.Sub(start))
		printStep(s, took, at.Sub(start), p.now)
		return p.awaitStart(ctx, s.version)
	}

	p.idle++
	var refusal string
	if s.outcome == refused {
		var err error
		if refusal, err = p.daemon.log.await(ctx, refusalMark, len(refusals)+1); err != nil {
			return err
		}
	}
	if err := p.checkUnchanged(ctx); err != nil {
		return err
	}
	printStep(s, took, 0, p.now)
	if refusal != "" {
		printQuote(refusal)
	}
	return nil
}

// awaitChange waits until the client hears another answer, which must be from
// the given version and from the process that was started.
func (p *performance) awaitChange(ctx context.Context, version string) (at time.Time, err error) {
	want := answer{version, p.daemon.pid()}
	select {
	case heard := <-p.client.changes:
		if heard.answer != want {
			return at, fmt.Errorf("the answer comes from %v, not %v", heard.answer, want)
		}
		p.now = want
		return heard.at, nil
	case <-ctx.Done():
		return at, fmt.Errorf("no answer from %v: %w", want, context.Cause(ctx))
	}
}

// awaitStart waits until the log tells of a start for each deploy, and checks
// that the last one is that of the given version. A restart that nobody asked
// for would be there in its place.
func (p *performance) awaitStart(ctx context.Context, version string) error {
	line, err := p.daemon.log.await(ctx, startMark, 1+len(p.serving))
	if err == nil && !strings.Contains(line, " "+version+startMark) {
		err = fmt.Errorf("instead of %s this was started: %s", version, line)
	}
	return err
}

// checkUnchanged checks that the answer is still what it was, and has not been
// another in between.
func (p *performance) checkUnchanged(ctx context.Context) error {
	heard, err := p.client.askOnce(ctx)
	if err == nil && (heard != p.now || len(p.client.changes) > 0) {
		err = fmt.Errorf("the answer does not come from %v any more", p.now)
	}
	return err
}

// freeAddress returns a loopback address that nobody uses. The daemon listens
// on it again and again, so it can't leave the choice to the kernel.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience, errors.New("it is overdue"))
}
