package rollout_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/contrib/fleet/internal/rollout"
)

// newDocument returns a document in which members have asked for v1 one after the other, each as a
// MEMBER:VERSION.
func newDocument(t *testing.T, max, canaries int, requests ...string) *rollout.Document {
	t.Helper()
	d := &rollout.Document{Format: rollout.Format, Service: "s", Max: max, Canaries: canaries, HealthyFor: 1, Versions: map[string]*rollout.Version{}}
	for _, r := range requests {
		member, version, _ := strings.Cut(r, ":")
		decision := d.Acquire(rollout.Request{Member: member, Version: id(version)}, nil, nobody)
		if decision.Next == nil {
			t.Fatalf("%s: %+v", r, decision)
		}
		d = decision.Next
	}
	return d
}

func id(version string) rollout.ID {
	return rollout.ID{Hash: "hash of " + version, Build: "build of " + version, Name: version}
}

func nobody(string) bool { return false }

func TestAcquire(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		max, canaries int
		before        []string
		request       rollout.Request
		queue         []rollout.Waiting
		want          string // the reason; "" if there is a slot
		keepsSlot     bool
	}{
		"first":                {max: 1, request: rollout.Request{Member: "a", Version: id("v1")}},
		"full":                 {max: 1, before: []string{"b:v1"}, request: rollout.Request{Member: "a", Version: id("v1")}, want: "1 of 1 slots are held"},
		"paused":               {max: 0, request: rollout.Request{Member: "a", Version: id("v1")}, want: "0 of 0 slots are held"},
		"again":                {max: 1, before: []string{"a:v1"}, request: rollout.Request{Member: "a", Version: id("v1")}},
		"newer":                {max: 1, before: []string{"a:v1"}, request: rollout.Request{Member: "a", Version: id("v2")}},
		"canary":               {max: 3, canaries: 2, before: []string{"b:v1"}, request: rollout.Request{Member: "a", Version: id("v1")}},
		"enough canaries":      {max: 3, canaries: 1, before: []string{"b:v1"}, request: rollout.Request{Member: "a", Version: id("v1")}, want: "the version is not proven yet by b"},
		"canary of another":    {max: 3, canaries: 1, before: []string{"b:v1"}, request: rollout.Request{Member: "a", Version: id("v2")}},
		"queue":                {max: 1, queue: []rollout.Waiting{{Member: "b", Version: id("v1")}}, request: rollout.Request{Member: "a", Version: id("v1")}, want: "1 members wait longer and can restart now"},
		"own place":            {max: 1, queue: []rollout.Waiting{{Member: "a", Version: id("v1")}, {Member: "b", Version: id("v1")}}, request: rollout.Request{Member: "a", Version: id("v1")}},
		"room for both":        {max: 2, queue: []rollout.Waiting{{Member: "b", Version: id("v1")}}, request: rollout.Request{Member: "a", Version: id("v1")}},
		"one ahead that can't": {max: 2, canaries: 1, before: []string{"c:v1"}, queue: []rollout.Waiting{{Member: "b", Version: id("v1")}}, request: rollout.Request{Member: "a", Version: id("v2")}},
		"does not wait": {
			max: 2, canaries: 1, before: []string{"b:v2", "a:v1"}, request: rollout.Request{Member: "a", Version: id("v2")},
			want: "the version is not proven yet by b", keepsSlot: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDocument(t, tt.max, tt.canaries, tt.before...)
			before := string(d.Bytes())
			got := d.Acquire(tt.request, tt.queue, nobody)
			if got.Reason != tt.want || (got.Next == nil) != (tt.want != "") || got.KeepsSlot != tt.keepsSlot {
				t.Errorf("got %+v", got)
			}
			if got.Next != nil && got.Next.Holder("a").Version != tt.request.Version.Hash {
				t.Errorf("holders are %+v", got.Next.Holders)
			}
			if string(d.Bytes()) != before {
				t.Error("the document was changed")
			}
			for _, clock := range []time.Time{time.Unix(0, 0), time.Now().AddDate(100, 0, 0)} {
				r, queue := tt.request, slices.Clone(tt.queue)
				r.Since = clock
				for i := range queue {
					queue[i].Since = clock.AddDate(0, 0, -i)
				}
				if other := d.Acquire(r, queue, nobody); other.Reason != got.Reason || (other.Next == nil) != (got.Next == nil) {
					t.Errorf("by a clock that shows %v: %+v", clock, other)
				}
			}
		})
	}
}

func TestVanishedHolder(t *testing.T) {
	t.Parallel()
	d := newDocument(t, 1, 0)
	d = d.Acquire(rollout.Request{Member: "a", Version: id("v1"), Vanishes: true}, nil, nobody).Next
	r := rollout.Request{Member: "b", Version: id("v1")}
	if got := d.Acquire(r, nil, func(member string) bool { return member == "a" }); got.Next != nil {
		t.Errorf("got a slot while the holder lives: %+v", got.Next.Holders)
	}
	if got := d.Acquire(r, nil, nobody); got.Next == nil || got.Next.Holder("a") != nil || got.Next.Holder("b") == nil {
		t.Errorf("got %+v", got)
	}
}

func TestOperator(t *testing.T) {
	t.Parallel()
	d := newDocument(t, 2, 1, "a:v1", "b:v2")
	failed, _ := d.RolledBack(id("v2"), "", rollout.Failure{Member: "b", Host: "h", Reason: strings.Repeat("ä", 400), At: time.Unix(1, 0)})
	if f := failed.Versions[id("v2").Hash].Failed; f == nil || len(f.Reason) != 512 || f.Host != "h" || failed.Holder("b") != nil {
		t.Errorf("got %s", failed.Bytes())
	}
	for _, name := range []string{"v2", "build of v2", "hash of v2"} {
		if next, err := failed.Clear(name); err != nil || next.Versions[id("v2").Hash] != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, want := range map[string]string{"v3": "no version v3", "": "no version", "hash o": "give the beginning of the hash"} {
		if _, err := failed.Clear(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", name, err)
		}
	}
	// A member that executes a version now is still a canary of it.
	if next, err := d.Clear("v1"); err != nil || !reflect.DeepEqual(next.Versions[id("v1").Hash].Canaries, []string{"a"}) {
		t.Errorf("got %v, %s", err, next.Bytes())
	}
	if next, err := d.Release("a"); err != nil || next.Holder("a") != nil || len(next.Versions[id("v1").Hash].Canaries) != 0 {
		t.Errorf("got %v, %s", err, next.Bytes())
	}
	if _, err := d.Release("c"); err == nil {
		t.Error("a slot that no member has was released")
	}
	zero, negative := 0, -1
	if next, err := d.Set(rollout.Settings{Max: &zero}); err != nil || next.Max != 0 || next.Canaries != 1 {
		t.Errorf("got %v", err)
	}
	if _, err := d.Set(rollout.Settings{Canaries: &negative}); err == nil {
		t.Error("a negative number of canaries was accepted")
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	d := newDocument(t, 2, 1, "a:v1")
	d.HealthyFor = rollout.Duration(time.Minute)
	got, err := rollout.Parse(d.Bytes())
	if err != nil || string(got.Bytes()) != string(d.Bytes()) || !strings.Contains(string(d.Bytes()), `"healthy_for": "1m0s"`) {
		t.Errorf("got %v, %s", err, got.Bytes())
	}
	for text, want := range map[string]string{
		"":                                     "unexpected end",
		`{"format": 2, "max": "a"}`:            "format 2",
		`{}`:                                   "format 0",
		`{"format": 1, "healthy_for": "soon"}`: "invalid duration",
	} {
		if _, err := rollout.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if _, err := rollout.Parse([]byte(`{"format": 2}`)); errors.As(err, new(*rollout.FormatError)) == false {
		t.Errorf("got %v", err)
	}
	if got, err := rollout.Parse([]byte(`{"format": 1, "versions": {"x": null}}`)); err != nil || len(got.Versions) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// A document does not grow with the number of versions.
func TestOldVersionsAreForgotten(t *testing.T) {
	t.Parallel()
	d := newDocument(t, 2, 0, "a:held")
	for i := range 1000 {
		version := fmt.Sprint("v", i)
		d = d.Acquire(rollout.Request{Member: "b", Version: id(version)}, nil, nobody).Next
		if i%2 == 0 {
			d, _ = d.RolledBack(id(version), "", rollout.Failure{Member: "b"})
		} else {
			d, _ = d.Ready("b", id(version).Hash)
		}
	}
	d = d.Acquire(rollout.Request{Member: "b", Version: id("last")}, nil, nobody).Next
	if n := len(d.Versions); n > 300 || d.Versions[id("held").Hash] == nil || d.Versions[id("v998").Hash] == nil || d.Versions[id("v999").Hash] == nil {
		t.Errorf("%d versions", n)
	}
}

// A process that is started afresh may run a version that its member had leave for, and had not executed. Then
// the member is a canary of that version. Otherwise it is none any more.
func TestUnexecutedVersion(t *testing.T) {
	t.Parallel()
	d := newDocument(t, 1, 1, "a:v1")
	d = d.Acquire(rollout.Request{Member: "a", Version: id("v2"), Unexecuted: id("v1").Hash}, nil, nobody).Next
	for running, want := range map[string][]string{"v1": {"a"}, "v2": {}, "v0": {}} {
		next, isCanary := d.Ready("a", id(running).Hash)
		if got := next.Versions[id("v1").Hash].Canaries; len(got) != len(want) || isCanary != (running != "v0") {
			t.Errorf("%s runs: canaries of v1 are %v, is a canary: %v", running, got, isCanary)
		}
	}
}
