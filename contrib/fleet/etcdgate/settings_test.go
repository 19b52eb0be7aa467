//go:build linux

package etcdgate

import (
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/group"
)

// Two services can't have one group.
func TestTwoGroupsWithOneName(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{})
	f.release(f.image("a"), autorestart.GateReady, f.acquire(f.image("a"), "v1"), "v1")
	other := f.image("b")
	other.Service = "example.com/mail"
	f.wantRejected(f.ask(other, "v1"), "group web of service example.com/web; this is service example.com/mail", false)
	if err := other.Release(t.Context(), autorestart.GateResult{Outcome: autorestart.GateReady}); err == nil || !strings.Contains(err.Error(), "example.com/mail") {
		t.Errorf("got %v", err)
	}
}

// The settings of the group count. A member that has others says so once.
func TestSettingsDiffer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{Max: 2})
	f.acquire(f.image("a"), "v1")
	g := f.image("b")
	g.Max = 1
	f.release(g, autorestart.GateReady, f.acquire(g, "v1"), "v1")
	const want = "WARN etcdgate: the settings of the group count, not those of this member; to change them: autorestart-fleet set " +
		"group=web found=max 2, canaries 0, healthy for 0s expected=max 1, canaries 0, healthy for 0s\n"
	if log := f.log.String(); strings.Count(log, want) != 1 {
		t.Errorf("got\n%s", log)
	}
}

// A document of a later release is left as it is.
func TestLaterFormat(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{})
	if _, err := f.client.Put(t.Context(), "/autorestart/web/state", `{"format": 2, "max": {"a": 1}}`); err != nil {
		t.Fatal(err)
	}
	a := f.ask(f.image("a"), "v1")
	<-a.done
	if a.err == nil || !strings.Contains(a.err.Error(), "format 2; this program reads format 1") {
		t.Errorf("got %v", a.err)
	}
}

// A newer version comes while a member has leave for an earlier one, which it has not executed.
func TestNewerVersionWhileThereIsLeave(t *testing.T) {
	t.Parallel()
	f := newFleet(t, etcdtest.Start(t, 1), &Gate{Canaries: 1})
	a, b := f.image("a"), f.image("b")
	f.release(f.image("c"), autorestart.GateRolledBack, f.acquire(f.image("c"), "bad"), "v0")
	first := f.acquire(a, "v1")
	f.wantRejected(f.ask(a, "bad"), "rolled back", true) // and the earlier leave holds
	f.wantHolders("a")
	f.wantRejected(f.ask(a, "bad"), "rolled back", true) // it does not wait with a slot

	second := f.acquire(a, "v2")
	waiting := f.ask(b, "v1")
	f.waitUntilQueued("b")
	f.release(f.image("a"), autorestart.GateReady, second, "v2")
	f.release(b, autorestart.GateReady, f.want(waiting), "v1") // a has not executed v1: it is no canary
	f.wantHolders("")
	_ = first
}

func TestWrongOptions(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]*Gate{
		"no client":       {Group: "web"},
		"no group":        {Client: newClient(t)},
		"group":           {Client: newClient(t), Group: "a/b"},
		"member":          {Client: newClient(t), Group: "web", Member: "a/b"},
		"negative number": {Client: newClient(t), Group: "web", Max: -1},
	} {
		if err := g.Release(t.Context(), autorestart.GateResult{}); err == nil || !strings.HasPrefix(err.Error(), "etcdgate: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Each process of a machine that was started by another name is another member.
func TestDefaultMember(t *testing.T) {
	t.Parallel()
	web, err := defaultMember("example.com/web")
	if err != nil {
		t.Skip(err)
	}
	mail, _ := defaultMember("example.com/mail")
	if again, _ := defaultMember("example.com/web"); web != again || web == mail || group.CheckName("member", web) != nil {
		t.Errorf("got %q, %q, %q", web, again, mail)
	}
}
