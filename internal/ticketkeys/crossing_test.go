//go:build unix

package ticketkeys

import (
	"crypto/tls"
	"strconv"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/passing"
)

// A program may begin to serve after it has called Ready.
func TestKeysOutlastReady(t *testing.T) {
	if !imagetest.SecretsCross() {
		t.Skip("keys do not cross on this system")
	}
	p := imagetest.Start(t)
	identity, client, c := newCertificate(t, "example"), newClient(tls.VersionTLS13), &clock{time.Now()}
	wantResumed(t, serve(t, identity, c, "server"), client, false)
	for range 2 { // also in a version that does not serve
		nextImage(p).Store.CloseUnclaimed()
	}
	wantResumed(t, serve(t, identity, c, "server"), client, true)
}

// Keys of servers that are no more do not cross for ever.
func TestForgottenKeysAreDropped(t *testing.T) {
	p := imagetest.Start(t)
	store := &image.Current().Store
	now := time.Now()
	set := func(name string, created time.Time) passing.Name {
		k := newKey(name, created)
		store.SetState(k.state, k.value())
		return k.state
	}
	expired := set("expired", now.Add(-lifetime))
	young := set("young", now)
	old := set("old", now.Add(-time.Hour))
	for i := range maxKept - 1 {
		set(strconv.Itoa(i), now)
	}
	damaged := passing.SecretName(statePrefix + "id server")
	store.SetState(damaged, []byte("short"))
	other := passing.SecretName("of a later version")
	store.SetState(other, []byte("text"))
	if !imagetest.SecretsCross() {
		t.Skip("keys do not cross on this system")
	}
	next := nextImage(p)
	next.Store.CloseUnclaimed()
	if n := len(keyStates(next)); n != maxKept {
		t.Errorf("%d keys are left, want %d", n, maxKept)
	}
	secrets := next.Store.Secrets()
	if secrets[young] == nil {
		t.Error("a young key is dropped")
	}
	for _, name := range []passing.Name{expired, old, damaged, other} {
		if secrets[name] != nil {
			t.Errorf("%q is left", name)
		}
	}
}

// A damaged state is no key.
func TestDamagedKeyIsIgnored(t *testing.T) {
	imagetest.Start(t)
	image.Current().Store.SetState(stateName("id", "server"), []byte("short"))
	if set := currentRegistry().set("server"); len(set.keys) > 0 {
		t.Error("it has become a key")
	}
}

// Two processes serve beside each other, and both make a key: clients resume with the process that
// is left, and in the next version.
func TestKeysOfStandInAreTaken(t *testing.T) {
	if !imagetest.SecretsCross() {
		t.Skip("keys do not cross on this system")
	}
	forVersions(t, func(t *testing.T, version uint16) {
		p := imagetest.Start(t)
		identity, c := newCertificate(t, "example"), &clock{time.Now()}
		before, ofStandIn, ofMain := newClient(version), newClient(version), newClient(version)
		main := image.Current()
		mainConfig := serve(t, identity, c, "server")
		wantResumed(t, mainConfig, before, false)
		standIn := nextImage(p)
		standInConfig := serve(t, identity, c, "server")
		wantResumed(t, standInConfig, before, true)
		c.Time = c.Add(day)
		wantResumed(t, standInConfig, ofStandIn, false)
		wantResumed(t, mainConfig, ofMain, false)
		main.Store.TakeStates(standIn.Store.OwnStates())
		main.Use()
		for _, client := range []*tls.Config{before, ofStandIn, ofMain} {
			wantResumed(t, mainConfig, client, true)
		}
		nextImage(p)
		for _, client := range []*tls.Config{before, ofStandIn, ofMain} {
			wantResumed(t, serve(t, identity, c, "server"), client, true)
		}
	})
}
