//go:build unix

package ticketkeys

import (
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/passing"
)

const day = 24 * time.Hour

// serve returns the config of a server in the current image.
func serve(t *testing.T, identity tls.Certificate, c *clock, sets ...string) *tls.Config {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{identity}, Time: c.now}
	s, err := Resume(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sets {
		s.Add(name)
	}
	return config.Clone() // as net/http does
}

// nextImage makes an image current that has what the current one would hand over.
func nextImage(p *imagetest.Process) *image.Image {
	i := p.StartBeside()
	i.Use()
	return i
}

// Keys rotate as those of a single process that never restarts, with a restart before each
// connection.
func TestKeysRotateAsInOneProcess(t *testing.T) {
	if !imagetest.SecretsCross() {
		t.Skip("keys do not cross on this system")
	}
	type step struct {
		at     time.Duration
		client int
		resume bool
	}
	schedules := map[string][]step{
		"ticket of the newest key":  {{0, 1, false}, {0, 1, true}, {23 * time.Hour, 1, true}},
		"ticket from before":        {{0, 1, false}, {25 * time.Hour, 2, false}, {26 * time.Hour, 1, true}, {27 * time.Hour, 2, true}},
		"six rotations ago":         {{0, 1, false}, {day, 2, false}, {2 * day, 2, true}, {3 * day, 2, true}, {4 * day, 2, true}, {5 * day, 2, true}, {6 * day, 2, true}, {6*day + time.Hour, 1, true}},
		"last moment of a key":      {{0, 1, false}, {23 * time.Hour, 2, false}, {7*day - time.Second, 2, true}},
		"key that has expired":      {{0, 1, false}, {23 * time.Hour, 2, false}, {7 * day, 2, false}, {7 * day, 2, true}},
		"ticket that has expired":   {{0, 1, false}, {7*day + time.Second, 1, false}, {7*day + time.Second, 1, true}},
		"no connection for a month": {{0, 1, false}, {30 * day, 1, false}, {31 * day, 1, true}},
	}
	identity := newCertificate(t, "example")
	forVersions(t, func(t *testing.T, version uint16) {
		for name, steps := range schedules {
			for _, restarts := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s,restarts=%v", name, restarts), func(t *testing.T) {
					p := imagetest.Start(t)
					start := time.Now()
					c := &clock{start}
					plain := &tls.Config{Certificates: []tls.Certificate{identity}, Time: c.now}
					clients := map[int]*tls.Config{1: newClient(version), 2: newClient(version)}
					for _, s := range steps {
						c.Time = start.Add(s.at)
						config := plain
						if restarts {
							nextImage(p)
							config = serve(t, identity, c, "server")
						}
						state, err := connect(config, clients[s.client])
						if err != nil || state.DidResume != s.resume {
							t.Errorf("client %d at %v: resumed: %v, want %v; %v", s.client, s.at, state.DidResume, s.resume, err)
						}
					}
				})
			}
		}
	})
}

// A key whose time is in the future, because the clock was set back, is replaced after a day.
func TestKeyFromTheFuture(t *testing.T) {
	p := imagetest.Start(t)
	identity, client := newCertificate(t, "example"), newClient(tls.VersionTLS13)
	now := time.Now()
	c := &clock{now.Add(100 * day)}
	wantResumed(t, serve(t, identity, c, "server"), client, false)
	c.Time = now
	config := serve(t, identity, c, "server")
	wantResumed(t, config, client, true)
	set := currentRegistry().set("server")
	first := set.newest(now)
	if last := set.newest(now.Add(day - time.Second)); last != first {
		t.Error("replaced within a day")
	}
	if !imagetest.SecretsCross() {
		return
	}
	nextImage(p)
	set = currentRegistry().set("server")
	if crossed := set.newest(now.Add(day - time.Second)); crossed.state != first.state {
		t.Error("the key has not crossed")
	}
	if next := set.newest(now.Add(day)); next.state == first.state {
		t.Error("used for more than a day")
	}
}

// keyStates returns the names of the keys that cross.
func keyStates(i *image.Image) (names []passing.Name) {
	for name := range i.Store.Secrets() {
		names = append(names, name)
	}
	return names
}

// Expired keys cross no more.
func TestKeysDoNotAddUp(t *testing.T) {
	imagetest.Start(t)
	set := currentRegistry().set("server")
	now := time.Now()
	for d := range 100 {
		set.newest(now.Add(time.Duration(d) * day))
		if n := len(keyStates(image.Current())); n != min(d+1, 7) || n != len(set.keys) {
			t.Fatalf("day %d: %d keys cross, %d are used", d, n, len(set.keys))
		}
	}
}

// No two servers share a key.
func TestSetsAreSeparate(t *testing.T) {
	imagetest.Start(t)
	identity, client, c := newCertificate(t, "example"), newClient(tls.VersionTLS13), &clock{time.Now()}
	wantResumed(t, serve(t, identity, c, "one"), client, false)
	wantResumed(t, serve(t, identity, c, "two"), client, false)
	wantResumed(t, serve(t, identity, c), client, false)
}

// A server with two listeners begins to serve them in any order.
func TestSetsInAnyOrder(t *testing.T) {
	if !imagetest.SecretsCross() {
		t.Skip("keys do not cross on this system")
	}
	p := imagetest.Start(t)
	identity, client, c := newCertificate(t, "example"), newClient(tls.VersionTLS13), &clock{time.Now()}
	wantResumed(t, serve(t, identity, c, "one", "two", "one"), client, false)
	nextImage(p)
	config := serve(t, identity, c, "two", "one")
	wantResumed(t, config, client, true) // the new ticket is of the other set
	nextImage(p)
	wantResumed(t, serve(t, identity, c, "one", "two"), client, true)
}

// Connections make and use keys at the same time, while states of a stand-in are taken over and the
// clock is set forth and back.
func TestKeysAreUsedAtTheSameTime(t *testing.T) {
	imagetest.Start(t)
	var days atomic.Int64
	start := time.Now()
	config := &tls.Config{
		Certificates: []tls.Certificate{newCertificate(t, "example")},
		Time:         func() time.Time { return start.Add(time.Duration(days.Load()) * day) },
	}
	sessions, err := Resume(config)
	if err != nil {
		t.Fatal(err)
	}
	sessions.Add("server")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			client := newClient(tls.VersionTLS13)
			for n := range 20 {
				if state, err := connect(config, client); err != nil || state.DidResume != (n > 0) {
					t.Errorf("client %d, connection %d: resumed: %v, %v", i, n, state.DidResume, err)
				}
				currentRegistry().reload()
				days.Store(int64(n * 7 % 4))
			}
		})
	}
	wg.Wait()
}
