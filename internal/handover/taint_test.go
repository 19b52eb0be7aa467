package handover

import (
	"slices"
	"testing"
)

// TestWithoutUnsafe: what the next image must not believe is left out, and a variable of the
// program's in the place of ours.
func TestWithoutUnsafe(t *testing.T) {
	defer func(was bool) { tainted = was }(tainted)
	env := []string{"PATH=/bin", Env + "=pid=1,", "LD_PRELOAD=/x.so", "LDAP=y", "TMPDIR=/y", "GLIBC_TUNABLES=x", "MALLOC_CHECK_=1", "GCONV_PATH", "", "A=LD_AUDIT=x"}
	var want []string
	for tainted, want = range map[bool][]string{
		false: {"PATH=/bin", "LD_PRELOAD=/x.so", "LDAP=y", "TMPDIR=/y", "GLIBC_TUNABLES=x", "MALLOC_CHECK_=1", "GCONV_PATH", "", "A=LD_AUDIT=x", "MORE="},
		true:  {"PATH=/bin", "LDAP=y", "TMPDIR=/y", "", "A=LD_AUDIT=x", "MORE="},
	} {
		if got := nextEnvironment(env, "MORE="); !slices.Equal(got, want) {
			t.Errorf("tainted: %t: got %q, want %q", tainted, got, want)
		}
	}
}

// TestTaintCrosses: also to an image that is not secure, and to all that follow.
func TestTaintCrosses(t *testing.T) {
	defer func(was bool) { tainted = was }(tainted)
	tainted = true
	s := of(map[NumberKind][]int{PID: {42}}, nil)
	s.addTaint()
	got, ignored := Parse(s.String(), 42)
	tainted = false
	if got.takeTaint(); ignored != "" || !Tainted() {
		t.Errorf("%q: not tainted, %s", s.String(), ignored)
	}
}
