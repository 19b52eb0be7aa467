//go:build linux

package httpserve_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Requests that a client has sent at once, without waiting for responses, are all answered,
// although a restart begins in the middle.
func TestPipelinedRequestsAreAnswered(t *testing.T) {
	const (
		ms   = time.Millisecond
		slow = "GET /slow?%v HTTP/1.1\r\nHost: example\r\n\r\n"
		wait = "GET /events HTTP/1.1\r\nHost: example\r\n\r\n" // until the restart begins
	)
	for name, test := range map[string]struct {
		env           string
		before, after int           // requests before and after the one that waits
		takes         time.Duration // each request
		crosses       bool
	}{
		"plain":                   {"", 4, 5, 10 * ms, true},
		"plain, more than a read": {"", 100, 150, ms, true},
		"TLS":                     {certEnv + "=" + writeCertificate(t), 4, 5, 10 * ms, false},
		"beside HTTP/2":           {http2Env + "=1", 4, 5, 10 * ms, false},
		"wrapped":                 {listenerEnv + "=own", 4, 5, 10 * ms, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, address := startWeb(t, test.env)
			c := connect(t, address)
			if strings.HasPrefix(test.env, certEnv) {
				c = c.handshake()
			}
			get := fmt.Sprintf(slow, test.takes)
			c.send(strings.Repeat(get, test.before) + wait + strings.Repeat(get, test.after))
			for range test.before {
				c.want("0")
			}
			d.Tell("restart")
			c.want("begin\nend\n")
			for range test.after {
				c.wantOneOf("0", "1")
			}
			d.NextStart()
			d.Want("ready")
			wantQuickDrain(t, d)
			if test.crosses {
				c.send(askGeneration)
				c.want("1")
			} else {
				c.wantEnd()
			}
		})
	}
}
