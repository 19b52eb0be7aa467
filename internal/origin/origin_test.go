package origin

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"unsafe"
)

// TestArgsAreCopies: the bytes of os.Args are not safe.
func TestArgsAreCopies(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("package os makes the arguments itself")
	}
	if !slices.Equal(Args, os.Args) {
		t.Fatalf("%q, want %q", Args, os.Args)
	}
	for i := range Args {
		if unsafe.StringData(Args[i]) == unsafe.StringData(os.Args[i]) {
			t.Errorf("argument %d is not a copy", i)
		}
	}
}

func TestDeepCopy(t *testing.T) {
	for _, want := range [][]string{nil, {""}, {"", "a", "", "\xff\xfe=\x01", "b c", ""}} {
		if got := deepCopy(slices.Clone(want)); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
