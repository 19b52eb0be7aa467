package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Versions that only Overlap makes harmless.
const (
	slowVersion  = "v2.0.0" // takes slowStart until it is ready
	fatalVersion = "v2.1.0" // calls log.Fatal before it is ready
)

const slowStart = time.Second // as in the daemon

// runOverlap runs the daemon with Overlap.
func runOverlap(ctx context.Context, s site) error {
	printOverlapOpening()
	return s.runDaemon(ctx, "v1.3.0", func(ctx context.Context, r *scenario) error {
		printHeader(r.now)
		o := &overlap{scenario: r, site: s}
		d, err := o.deployDuringDownload(ctx, "v1.4.0", "v1.5.0")
		if err != nil {
			return fmt.Errorf("deploys during a download: %w", err)
		}
		started, err := o.deploySlow(ctx)
		if err != nil {
			return fmt.Errorf("a version that starts slowly: %w", err)
		}
		if err := o.deployFatal(ctx); err != nil {
			return fmt.Errorf("a version that calls log.Fatal: %w", err)
		}
		r.stop()
		printOverlapSummary(r, d, started)
		return nil
	}, "-overlap")
}

// overlap is a scenario in which two processes answer.
type overlap struct {
	*scenario
	site   site
	before answer // than now, which may still come for a moment
}

// deployDuringDownload deploys two versions, one after the other, while a client downloads.
func (o *overlap) deployDuringDownload(ctx context.Context, first, second string) (*download, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	d, err := o.startDownload(ctx)
	if err != nil {
		return nil, err
	}
	defer d.body.Close()
	printRow("(a slow download begins)", 0, 0, o.now)
	for _, version := range []string{first, second} {
		if err := o.deploy(ctx, version); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	if err := d.finish(); err != nil {
		return nil, fmt.Errorf("the download was cut off: %w", err)
	}
	took := time.Since(start)
	return d, o.awaitMain(ctx, "(the download ends)", took, start)
}

// deploySlow deploys a version that starts slowly. It returns how many requests of the client
// with new connections were answered during its start in the child, and in the main process.
func (o *overlap) deploySlow(ctx context.Context) (answered [2]int, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	old, start := o.now, time.Now()
	before := o.client.count(old)
	if err := o.deploy(ctx, slowVersion); err != nil {
		return answered, err
	}
	answered[0] = o.client.count(old) - before
	if _, err := o.daemon.log.await(ctx, takeoverMark, 2); err != nil {
		return answered, err
	}
	child := o.now
	before = o.client.count(child)
	if err := o.awaitMain(ctx, "(the slow version in the main process)", 0, start); err != nil {
		return answered, err
	}
	answered[1] = o.client.count(child) - before
	if answered[0] == 0 || answered[1] == 0 {
		return answered, fmt.Errorf("%d and %d requests were answered during its two starts", answered[0], answered[1])
	}
	return answered, nil
}

// deployFatal deploys a version that ends its child.
func (o *overlap) deployFatal(ctx context.Context) error {
	ctx, cancel := within(ctx)
	defer cancel()
	title, took, err := o.rename(ctx, fatalVersion)
	if err != nil {
		return err
	}
	rejection, err := o.daemon.log.await(ctx, standInMark, 1)
	if err != nil {
		return err
	}
	if err := o.checkUnchanged(ctx); err != nil {
		return err
	}
	printRow(title, took, 0, o.now)
	printQuote(rejection)
	return nil
}

// rename deploys a version by a rename.
func (o *overlap) rename(ctx context.Context, version string) (title string, took time.Duration, err error) {
	d := o.site.rename(version)
	if err := d.prepare(); err != nil {
		return "", 0, err
	}
	start := time.Now()
	err = d.do(ctx)
	return d.title, time.Since(start), err
}

// deploy deploys a version, and waits until its child answers.
func (o *overlap) deploy(ctx context.Context, version string) error {
	start := time.Now()
	title, took, err := o.rename(ctx, version)
	if err != nil {
		return err
	}
	at, err := o.await(ctx, func(a answer) bool { return a.version == version && a.pid != o.daemon.pid() })
	if err != nil {
		return err
	}
	printRow(title, took, at.Sub(start), o.now)
	return nil
}

// awaitMain waits until the version that answers does so in the main process, and its child has
// ended.
func (o *overlap) awaitMain(ctx context.Context, title string, took time.Duration, start time.Time) error {
	child := o.now.pid
	at, err := o.await(ctx, func(a answer) bool { return a == answer{o.now.version, o.daemon.pid()} })
	if err != nil {
		return err
	}
	if err := awaitEnd(ctx, child); err != nil {
		return fmt.Errorf("the child goes on: %w", err)
	}
	printRow(title, took, at.Sub(start), o.now)
	// The child may have answered after the main process.
	for len(o.client.changes) > 0 {
		if got := <-o.client.changes; got.answer != o.now && got.answer != o.before {
			return fmt.Errorf("an answer comes from %v, expected %v", got.answer, o.now)
		}
	}
	return nil
}

// await waits for an answer that is expected next. Until then, and for a moment after it, both
// processes may answer.
func (o *overlap) await(ctx context.Context, next func(answer) bool) (at time.Time, err error) {
	for {
		select {
		case got := <-o.client.changes:
			switch {
			case next(got.answer):
				o.before, o.now = o.now, got.answer
				return got.at, nil
			case got.answer != o.now && got.answer != o.before:
				return at, fmt.Errorf("an answer comes from %v after one from %v", got.answer, o.now)
			}
		case <-ctx.Done():
			return at, fmt.Errorf("no other answer than that from %v: %w", o.now, context.Cause(ctx))
		}
	}
}

// A download is a response whose body the client reads slowly.
type download struct {
	body io.ReadCloser
	size int64
}

// startDownload begins a download, and reads the first bytes of it.
func (o *overlap) startDownload(ctx context.Context) (*download, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", o.url+"/download", nil)
	if err != nil {
		return nil, err
	}
	transport := new(http.Transport)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	d := &download{response.Body, response.ContentLength}
	_, err = io.CopyN(io.Discard, d.body, 1<<20)
	return d, err
}

// finish reads the rest.
func (d *download) finish() error {
	_, err := io.Copy(io.Discard, d.body)
	return err
}
