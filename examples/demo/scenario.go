package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// stepTimeout is how long a step may take before the demo fails. A step takes milliseconds
// unless the machine is very busy.
const stepTimeout = 2 * time.Minute

// scenario is the state of a run of the demo.
type scenario struct {
	daemon    *daemon
	url       string
	client    *client
	keeper    *client         // keeps its connection
	now       answer          // expected until the next deploy
	serving   []time.Duration // for each deploy, from its beginning to the first answer
	ignored   int             // steps without a new version to execute
	rollbacks int             // versions that were rolled back
}

// runScenario runs the steps.
func runScenario(ctx context.Context, s site) error {
	return s.runDaemon(ctx, versions[0], func(ctx context.Context, r *scenario) error {
		printFirst(r.now)
		for _, step := range s.steps() {
			if err := r.run(ctx, step); err != nil {
				return fmt.Errorf("%s: %w", step.title, err)
			}
		}
		r.stop()
		if starts, _ := r.daemon.log.lines(startMark); len(starts) != r.starts() {
			return fmt.Errorf("the daemon has started %d times, expected %d", len(starts), r.starts())
		}
		printSummary(r)
		return nil
	})
}

// runDaemon starts the daemon, of the given version, and the clients, and calls f.
func (s site) runDaemon(ctx context.Context, version string, f func(context.Context, *scenario) error, flags ...string) (err error) {
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	address, err := freeAddress()
	if err != nil {
		return err
	}
	d, err := startDaemon(s.path(executable), address, flags, fail)
	if err != nil {
		return err
	}
	defer func() {
		d.stop()
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\n\nThe daemon's log:\n%s", err, d.log.text)
		}
	}()
	r := &scenario{daemon: d, url: "http://" + address}
	printRunning(s, r.url+"/version", flags)
	if err := r.startClients(running, version, fail); err != nil {
		return err
	}
	defer r.stopClients()
	return f(running, r)
}

// startClients starts the clients once the daemon serves, and waits for the first answer.
func (r *scenario) startClients(ctx context.Context, version string, fail func(error)) error {
	soon, cancel := within(ctx)
	defer cancel()
	if err := r.awaitStart(soon, version); err != nil {
		return err
	}
	url := r.url + "/version"
	r.client, r.keeper = startClient(ctx, url, false, fail), startClient(ctx, url, true, fail)
	if _, err := r.awaitChange(soon, version); err != nil {
		r.stopClients()
		return err
	}
	return nil
}

func (r *scenario) stopClients() {
	r.client.stop()
	r.keeper.stop()
}

// stop stops the clients and the daemon.
func (r *scenario) stop() {
	r.stopClients()
	r.daemon.stop()
}

// starts returns how often a version must have begun to serve so far.
func (r *scenario) starts() int { return 1 + len(r.serving) + r.rollbacks }

// run runs a step, checks its outcome and prints it.
func (r *scenario) run(ctx context.Context, s step) error {
	ctx, cancel := within(ctx)
	defer cancel()
	if s.prepare != nil {
		if err := s.prepare(); err != nil {
			return err
		}
	}
	rejections, _ := r.daemon.log.lines(rejectionMark)
	start := time.Now()
	if err := s.do(ctx); err != nil {
		return err
	}
	took := time.Since(start)

	if s.outcome == served {
		at, err := r.awaitChange(ctx, s.version)
		if err != nil {
			return err
		}
		r.serving = append(r.serving, at.Sub(start))
		printStep(s, took, at.Sub(start), r.now)
		return r.awaitStart(ctx, s.version)
	}

	var rollback time.Duration
	if s.outcome == rolledBack {
		r.rollbacks++
		if err := r.awaitStart(ctx, s.version); err != nil {
			return err
		}
		rollback = time.Since(start)
	} else {
		r.ignored++
	}
	var rejection string
	if s.outcome != ignored {
		var err error
		if rejection, err = r.daemon.log.await(ctx, rejectionMark, len(rejections)+1); err != nil {
			return err
		}
	}
	if err := r.checkUnchanged(ctx); err != nil {
		return err
	}
	printStep(s, took, rollback, r.now)
	if rejection != "" {
		printQuote(rejection)
	}
	return nil
}

// awaitChange waits until the client gets another answer. It must come from the given
// version, in the process that was started.
func (r *scenario) awaitChange(ctx context.Context, version string) (at time.Time, err error) {
	want := answer{version, r.daemon.pid()}
	select {
	case got := <-r.client.changes:
		if got.answer != want {
			return at, fmt.Errorf("the answer comes from %v, expected %v", got.answer, want)
		}
		r.now = want
		return got.at, nil
	case <-ctx.Done():
		return at, fmt.Errorf("no answer from %v: %w", want, context.Cause(ctx))
	}
}

// awaitStart waits until the log contains all expected starts, and checks that the last
// one is that of the given version. After an unexpected restart it would be another one.
func (r *scenario) awaitStart(ctx context.Context, version string) error {
	line, err := r.daemon.log.await(ctx, startMark, r.starts())
	if err == nil && !strings.Contains(line, " "+version+startMark) {
		err = fmt.Errorf("expected a start of %s, found %s", version, line)
	}
	return err
}

// checkUnchanged checks that the answer has not changed since the last deploy.
func (r *scenario) checkUnchanged(ctx context.Context) error {
	got, err := r.client.ask(ctx)
	if err == nil && (got != r.now || len(r.client.changes) > 0) {
		err = fmt.Errorf("the answer does not come from %v any more", r.now)
	}
	return err
}

// freeAddress returns an unused loopback address.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, stepTimeout, errors.New("timeout after "+stepTimeout.String()))
}
