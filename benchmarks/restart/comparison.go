//go:build linux

package restart

import (
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
	"github.com/autorestart-go/autorestart/benchmarks/internal/table"
)

// A comparison is one server under one kind of load.
type comparison struct {
	mode    mode
	network string
	server  *servers.Server

	quiet, deploying phase
	deploys          []time.Duration
	stuck            bool // the last version never answered
}

// maxSlower is how much slower a request may be with deploys than without, as a
// multiple of the time from a deploy to the first answer.
const maxSlower = 3

// run measures a program without deploys, and then, for an equally long time, with
// n deploys.
func (c *comparison) run(program []byte, dir string, n int) error {
	var args []string
	var roots *x509.CertPool
	if c.mode.http2 {
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		var err error
		if roots, err = certificate(cert, key); err != nil {
			return err
		}
		args = []string{"-cert", cert, "-key", key}
	}
	return servers.With(c.server, program, dir, c.network, args, func(p *servers.Process, address string) error {
		l := newLoad(c.mode, c.network, address, roots)
		defer l.close()
		if err := l.until(p); err != nil {
			return err
		}
		c.quiet, _ = l.during(func() error {
			time.Sleep(time.Duration(n) * pace) // load only
			return nil
		})
		var err error
		c.deploying, err = l.during(func() (err error) {
			c.deploys, err = deployTimes(p, &l.sightings, n)
			return err
		})
		c.stuck = errors.Is(err, errStuck)
		return err
	})
}

// kindsOfLoss returns the kinds of loss, with their numbers.
func (c *comparison) kindsOfLoss() string {
	s := c.deploying.lost.String()
	if c.stuck {
		s += ", then stuck"
	}
	return s
}

// Lost returns an error if a request was lost.
func (c *comparison) Lost() error {
	if n := c.quiet.lost.Total() + c.deploying.lost.Total(); n > 0 {
		return fmt.Errorf("lost %d requests: %v; without deploys: %v", n, c.deploying.lost, c.quiet.lost)
	}
	return nil
}

// Slow returns an error if a request took longer than it may.
func (c *comparison) Slow() error {
	q, d, deploy := c.quiet.slowest(), c.deploying.slowest(), table.Median(c.deploys)
	if d > q+maxSlower*deploy {
		return fmt.Errorf("the slowest request took %v, and %v without deploys, with %v for a deploy; %d times that may be the difference",
			d, q, deploy, maxSlower)
	}
	return nil
}
