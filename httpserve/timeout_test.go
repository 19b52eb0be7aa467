package httpserve

import (
	"net/http"
	"testing"
	"time"
)

// SetHeaderTimeout is for daemons whose clients may stand still.
func SetHeaderTimeout(timeout time.Duration) { headerTimeout = timeout }

// TestTimeout has the states that a connection can be in during a restart that began 100 ms
// ago.
func TestTimeout(t *testing.T) {
	const ms = time.Millisecond
	now := time.Now()
	ago := func(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }
	// A connection of package sockets, of HTTP/1.1 unless something else is said.
	fresh := func(since int) snapshot {
		return snapshot{state: http.StateNew, since: ago(since), readsKnown: true}
	}
	idle := func(since int) snapshot {
		return snapshot{state: http.StateIdle, protocol: http1, since: ago(since), readsKnown: true}
	}
	started := func(s snapshot, lastRead int) snapshot {
		s.started, s.lastRead = true, ago(lastRead)
		return s
	}
	with := func(s snapshot, change func(*snapshot)) snapshot {
		change(&s)
		return s
	}
	crosses := func(s *snapshot) { s.mayCross = true }
	tls := func(s *snapshot) { s.tls = true }
	handshake := func(s *snapshot) { s.tls, s.handshaking = true, true }
	overHTTP2 := func(s *snapshot) { s.protocol = http2 }
	grouped := func(s *snapshot) { s.protocol, s.grouped = http2, true }
	unknown := func(s *snapshot) { s.readsKnown = false }
	active := func(s *snapshot) { s.state = http.StateActive }
	hijacked := func(s *snapshot) { s.state = http.StateHijacked }
	later := func(s *snapshot) { s.drainStart = ago(600) } // 600 ms ago instead
	for name, test := range map[string]struct {
		snapshot
		want   time.Duration
		answer bool
	}{
		"may cross":                             {with(idle(1000), crosses), 400 * ms, false},
		"may cross, later":                      {with(with(idle(1000), crosses), later), crossingInterval, false},
		"may cross, new":                        {with(with(fresh(1000), crosses), later), crossingInterval, false},
		"does not cross after all":              {with(with(started(idle(1000), 5), func(s *snapshot) { s.keptAt = ago(200) }), later), 300 * ms, true},
		"may cross with what was read":          {with(with(started(idle(1000), 5), crosses), later), crossingInterval, false},
		"HTTP/2, grouped":                       {with(idle(1000), grouped), noTimeout, false},
		"HTTP/2, grouped, data":                 {with(started(idle(1000), 1), grouped), noTimeout, false},
		"new":                                   {fresh(10), 40 * ms, false},
		"new for long":                          {fresh(1000), 0, false},
		"new, TLS":                              {with(fresh(10), handshake), 40 * ms, false},
		"new, part of a request":                {started(fresh(1000), 900), 400 * ms, true},
		"new, part of a request, later":         {with(started(fresh(1000), 900), later), 0, true},
		"new, a byte now and then":              {with(started(fresh(1000), 0), later), 0, true},
		"new in the restart, part of a request": {started(fresh(50), 40), 450 * ms, true},
		"handshake":                             {with(started(fresh(1000), 900), handshake), 900 * ms, false},
		"handshake, later":                      {with(with(started(fresh(1000), 900), handshake), later), 400 * ms, false},
		"handshake, slow":                       {with(with(started(fresh(2000), 0), handshake), func(s *snapshot) { s.drainStart = ago(1000) }), 0, false},
		"handshake over":                        {with(started(fresh(400), 300), tls), 0, false},
		"handshake just over":                   {with(started(fresh(400), 20), tls), 30 * ms, false},
		"handshake over, a byte now and then":   {with(with(started(fresh(1000), 0), tls), later), 0, false},
		"just idle":                             {idle(3), 7 * ms, false},
		"idle, others may have been sent":       {with(idle(50), func(s *snapshot) { s.pipelined = true }), 450 * ms, false},
		"idle for long":                         {idle(1000), 0, false},
		"idle, part of a request":               {started(idle(1000), 900), 400 * ms, true},
		"idle, part of a request, later":        {with(started(idle(1000), 900), later), 0, true},
		"idle, a byte now and then":             {with(started(idle(1000), 0), later), 0, true},
		"idle after work, part of a request":    {with(started(idle(50), 60), later), 450 * ms, true},
		"HTTP/2, just idle":                     {with(idle(3), overHTTP2), 7 * ms, false},
		"HTTP/2, idle for long":                 {with(idle(1000), overHTTP2), 0, false},
		"HTTP/2, data since":                    {with(started(idle(1000), 2), overHTTP2), 8 * ms, false},
		"HTTP/2, no data since":                 {with(started(idle(1000), 20), overHTTP2), 0, false},
		"HTTP/2, data now and then":             {with(with(started(idle(1000), 0), overHTTP2), later), 0, false},
		"not known what was read":               {with(idle(1000), unknown), 0, false},
		"not known what was read, just idle":    {with(idle(10), unknown), 40 * ms, false},
		"not known what was read, new":          {with(fresh(10), unknown), 40 * ms, false},
		"active":                                {with(started(idle(1000), 900), active), noTimeout, false},
		"active, TLS":                           {with(with(with(started(idle(1000), 900), active), tls), later), noTimeout, false},
		"active, HTTP/2":                        {with(with(started(idle(1000), 900), active), overHTTP2), noTimeout, false},
		"hijacked":                              {with(started(idle(1000), 900), hijacked), noTimeout, false},
	} {
		if test.drainStart.IsZero() {
			test.drainStart = ago(100)
		}
		if got, answer := test.timeout(now); got != test.want || answer != test.answer {
			t.Errorf("%s: %v, answer: %v; expected %v, %v", name, got, answer, test.want, test.answer)
		}
	}
}
