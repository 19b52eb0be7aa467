package handover

import (
	"slices"
	"testing"
)

func TestWithoutUnsafe(t *testing.T) {
	env := []string{"PATH=/bin", "LD_PRELOAD=/x.so", "LDAP=y", "TMPDIR=/y", "GLIBC_TUNABLES=x", "MALLOC_CHECK_=1", "GCONV_PATH", "", "A=LD_AUDIT=x"}
	want := []string{"PATH=/bin", "LDAP=y", "TMPDIR=/y", "", "A=LD_AUDIT=x"}
	if got := withoutUnsafe(env); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
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
