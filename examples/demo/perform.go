package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// stepTimeout is how long a step may take before the demo fails. A step takes
// milliseconds, unless the machine is very busy.
const stepTimeout = 15 * time.Second

// performance is the story being told.
type performance struct {
	daemon    *daemon
	client    *client
	keeper    *client         // keeps its connection
	now       answer          // the expected answer until the next deploy
	serving   []time.Duration // of each deploy, from its beginning to the first answer
	idle      int             // steps that were no deploy
	rollbacks int             // deploys of a version that was rolled back
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
	defer p.stopClients()
	for _, step := range s.story() {
		if err := p.do(running, step); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}

	p.stopClients()
	d.stop()
	if starts, _ := d.log.lines(startMark); len(starts) != p.starts() {
		return fmt.Errorf("%d starts where %d were due", len(starts), p.starts())
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
	p.client, p.keeper = startClient(ctx, url, false, fail), startClient(ctx, url, true, fail)
	if _, err := p.awaitChange(soon, versions[0]); err != nil {
		p.stopClients()
		return err
	}
	printFirst(p.now)
	return nil
}

func (p *performance) stopClients() {
	p.client.stop()
	p.keeper.stop()
}

// starts is how often a version has begun to serve.
func (p *performance) starts() int { return 1 + len(p.serving) + p.rollbacks }

// do does one step, and prints the result if it is the expected one.
func (p *performance) do(ctx context.Context, s step) error {
	ctx, cancel := within(ctx)
	defer cancel()
	if s.prepare != nil {
		if err := s.prepare(); err != nil {
			return err
		}
	}
	rejections, _ := p.daemon.log.lines(rejectionMark)
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

	var back time.Duration
	if s.outcome == rolledBack {
		p.rollbacks++
		if err := p.awaitStart(ctx, s.version); err != nil {
			return err
		}
		back = time.Since(start)
	} else {
		p.idle++
	}
	var rejection string
	if s.outcome != ignored {
		var err error
		if rejection, err = p.daemon.log.await(ctx, rejectionMark, len(rejections)+1); err != nil {
			return err
		}
	}
	if err := p.checkUnchanged(ctx); err != nil {
		return err
	}
	printStep(s, took, back, p.now)
	if rejection != "" {
		printQuote(rejection)
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

// awaitStart waits until the log tells of each start that was due, and checks
// that the last one is that of the given version. An unexpected restart would be
// there in its place.
func (p *performance) awaitStart(ctx context.Context, version string) error {
	line, err := p.daemon.log.await(ctx, startMark, p.starts())
	if err == nil && !strings.Contains(line, " "+version+startMark) {
		err = fmt.Errorf("instead of %s this was started: %s", version, line)
	}
	return err
}

// checkUnchanged checks that the answer is still what it was, and has not been
// another in between.
func (p *performance) checkUnchanged(ctx context.Context) error {
	heard, err := p.client.ask(ctx)
	if err == nil && (heard != p.now || len(p.client.changes) > 0) {
		err = fmt.Errorf("the answer does not come from %v any more", p.now)
	}
	return err
}

// freeAddress returns a loopback address that is not in use.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, stepTimeout, errors.New("it is overdue"))
}
